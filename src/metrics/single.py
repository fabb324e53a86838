"""All standard measures of one map, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.metrics import functional as fn
from src.metrics.checks import Map, check_protocol, paired_maps
from src.metrics.functional.arrays import BoolMap, FloatMap

CURVES = ("precision_curve", "recall_curve", "f_curve", "e_curve")
"""Curves over the 256 falling thresholds `functional.THRESHOLDS`."""

SUMMED = ("mae", "s_alpha", "e_adp", "f_adp", "f_weighted", "iou", "dice")
"""Scalars whose mean over images is the data set's number; the others are read off mean curves."""


@dataclass(frozen=True)
class MapScores:
    """What one map scored.

    `scalars`: mae, s_alpha, e_mean, e_max, e_adp, f_mean, f_max, f_adp, f_weighted, iou, dice. `e_max` and `f_max` are the
    maxima of this map's own curves; their mean over images is not the data set's maximum (that of the mean curve).
    `curves`: `CURVES`, (256,) float64 each.
    """

    scalars: dict[str, float]
    curves: dict[str, FloatMap]


def score(pred: Map, target: Map, protocol: str = "field") -> MapScores:
    """Score one (H, W) prediction in [0, 1] against a bool mask of the same size (torch or NumPy).

    `protocol` is `field` or `raw`, see `functional.prepare`. All measures are taken on the map that the protocol makes;
    so IoU and Dice call foreground what exceeds 0.5 after min–max under `field`, and as given under `raw`.

    Raises:
        UserError: unknown protocol, shapes that differ, NaN, values outside [0, 1], wrong types; all listed at once.
    """
    check_protocol(protocol)
    ((checked_pred, checked_target),) = paired_maps([pred], [target])
    return score_checked(checked_pred, checked_target, protocol)


def score_checked(pred: NDArray[np.floating], target: BoolMap, protocol: str) -> MapScores:
    """`score` for arrays that `paired_maps` has passed."""
    pred = fn.prepare(pred, protocol)
    at_thresholds = fn.counts_at_thresholds(pred, target)
    at_adaptive = fn.counts_above(pred >= fn.adaptive_threshold(pred), target)
    at_half = fn.counts_above(pred > 0.5, target)
    curves = {
        "precision_curve": fn.precision(at_thresholds),
        "recall_curve": fn.recall(at_thresholds),
        "f_curve": fn.f_measure(at_thresholds),
        "e_curve": fn.e_measure(at_thresholds),
    }
    scalars = {
        "mae": fn.mae(pred, target),
        "s_alpha": fn.s_alpha(pred, target),
        "e_mean": float(curves["e_curve"].mean()),
        "e_max": float(curves["e_curve"].max()),
        "e_adp": float(fn.e_measure(at_adaptive)),
        "f_mean": float(curves["f_curve"].mean()),
        "f_max": float(curves["f_curve"].max()),
        "f_adp": float(fn.f_measure(at_adaptive)),
        "f_weighted": fn.f_weighted(pred, target),
        "iou": float(fn.iou(at_half)),
        "dice": float(fn.dice(at_half)),
    }
    return MapScores(scalars, curves)
