"""All measures of one map, in one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from src.metrics import functional as fn
from src.metrics.checks import Checked, Map, Maps, Validity, check_extra, check_protocol, check_workers, checked_maps
from src.metrics.functional.arrays import BoolMap, FloatMap
from src.metrics.functional.float_map import PixelMap
from src.metrics.functional.grey_map import LevelMap
from src.metrics.functional.structure import combined

CURVES = ("precision_curve", "recall_curve", "f_curve", "e_curve", "iou_curve", "dice_curve")
"""Keys of the curves over the 256 falling thresholds `functional.THRESHOLDS`."""

OF_CURVES = {f"{name}_{which}": f"{name}_curve" for name in ("e", "f", "iou", "dice") for which in ("mean", "max")}
"""Scalar → the mean curve that it is computed from; all other scalars are means over images."""

_ON_FOREGROUND: dict[str, Callable[[BoolMap, BoolMap], float]] = {
    "boundary_iou": fn.boundary_iou,
    "ms_iou": fn.ms_iou,
    "hce": fn.hce,
}


@dataclass(frozen=True)
class MapScores:
    """The scores of one map.

    Attributes:
        scalars: the keys `STANDARD` and the requested extras. `e_max`, `f_max`, `iou_max` and `dice_max` are the maxima
            of this map's own curves; their mean over images is not the data set's value (the maximum of the mean
            curve).
        curves: the keys `CURVES`, (256,) float64 each.
    """

    scalars: dict[str, float]
    curves: dict[str, FloatMap]


def score(
    pred: Map,
    target: Map,
    protocol: str = "field",
    valid: Map | None = None,
    extra: Sequence[str] = (),
    image: Map | None = None,
) -> MapScores:
    """Score one (H, W) prediction in [0, 1] against a bool mask of the same size (torch or NumPy).

    All measures are computed on the map that the protocol makes. For IoU, Dice and the rates, foreground is therefore
    what exceeds 0.5 after min–max (`field`) or as given (`raw`).

    Args:
        pred: probabilities in [0, 1].
        target: the mask.
        protocol: `field`, `raw` or `released`, see `functional.prepare`.
        valid: bool map, False where nothing is to be judged (outside a retina's field of view), or None. Measures that
            count pixels (MAE, every curve, E and F, IoU, Dice, the rates, AUC) only use the valid pixels, also for
            min–max and the adaptive threshold. Measures that need a whole map (S, weighted F, the boundary measures,
            HCE, context) treat the invalid part as background that was predicted as background.
        extra: names of slow measures, see `EXTRAS`.
        image: (H, W, 3) uint8 RGB; only `context_weighted` needs it.

    Raises:
        UserError: unknown protocol or extra; shapes that differ, NaN, values outside [0, 1], wrong types, all listed at
            once.

    >>> import numpy as np
    >>> target = np.array([[True, True, False, False]])
    >>> pred = np.array([[0.9, 0.4, 0.6, 0.0]])
    >>> scalars = score(pred, target, "raw", extra=["auc"]).scalars
    >>> scalars["iou"], scalars["ber"], scalars["auc"]
    (0.3333333333333333, 0.5, 0.75)
    >>> score(pred, target, "raw", valid=np.array([[True, True, False, True]])).scalars["ber"]
    0.25
    """
    check_protocol(protocol)
    extra = check_extra(extra)
    (single,) = checked_maps(
        [pred], [target], None if valid is None else [valid], None if image is None else [image], extra
    )
    return score_checked(single, protocol, extra)


def score_many(
    preds: Maps,
    targets: Maps,
    protocol: str = "field",
    valid: Validity = None,
    extra: Sequence[str] = (),
    workers: int = 1,
    images: Sequence[Map] | None = None,
) -> list[MapScores]:
    """Return the `score` of every map, in order, computed by `workers` threads (the pixel loops release the GIL).

    Args:
        preds: a list of maps of any sizes, or a batch (N, H, W) or (N, 1, H, W).
        targets: likewise, the masks.
        protocol: as for `score`.
        valid: likewise, False where nothing is judged; single masks may be None.
        extra: as for `score`.
        workers: number of threads.
        images: (H, W, 3) uint8 RGB each; only `context_weighted` needs them.

    Raises:
        UserError: as `score`, every problem of every map at once, before any map is scored; `workers` below 1.

    >>> import numpy as np
    >>> target = np.array([[True, False]])
    >>> scores = score_many([target * 1.0, target * 0.5], [target, target], "raw", workers=2)
    >>> [single.scalars["mae"] for single in scores]
    [0.0, 0.25]
    """
    check_protocol(protocol)
    extra = check_extra(extra)
    check_workers(workers)
    return score_all(checked_maps(preds, targets, valid, images, extra), protocol, extra, workers)


def score_all(maps: list[Checked], protocol: str, extra: tuple[str, ...], workers: int) -> list[MapScores]:
    """Return `score_many` of maps that `checked_maps` returned."""
    if workers == 1 or len(maps) < 2:
        return [score_checked(single, protocol, extra) for single in maps]
    with ThreadPoolExecutor(min(workers, len(maps))) as pool:
        return list(pool.map(lambda single: score_checked(single, protocol, extra), maps))


def score_checked(single: Checked, protocol: str, extra: tuple[str, ...] = ()) -> MapScores:
    """Return `score` of one map that `checked_maps` returned."""
    pred = fn.stretch(single.pred) if protocol == "released" else single.pred
    whole = (PixelMap if protocol == "raw" else LevelMap).of(pred, single.target, single.valid)
    at_thresholds, at_adaptive, at_half = whole.counts_at_thresholds(), whole.counts_adaptive(), whole.counts_at_half()
    curves = {
        "precision_curve": fn.precision(at_thresholds),
        "recall_curve": fn.recall(at_thresholds),
        "f_curve": fn.f_measure(at_thresholds),
        "e_curve": fn.e_measure(at_thresholds),
        "iou_curve": fn.iou(at_thresholds),
        "dice_curve": fn.dice(at_thresholds),
    }
    s_object, s_region = whole.s_object(), whole.s_region()
    scalars = {
        "mae": whole.mae(),
        "s_alpha": combined(s_object, s_region),
        "s_object": s_object,
        "s_region": s_region,
        "e_mean": float(curves["e_curve"].mean()),
        "e_max": float(curves["e_curve"].max()),
        "e_adp": float(fn.e_measure(at_adaptive)),
        "f_mean": float(curves["f_curve"].mean()),
        "f_max": float(curves["f_curve"].max()),
        "f_adp": float(fn.f_measure(at_adaptive)),
        "f_weighted": whole.f_weighted(),
        "iou": float(fn.iou(at_half)),
        "iou_mean": float(curves["iou_curve"].mean()),
        "iou_max": float(curves["iou_curve"].max()),
        "dice": float(fn.dice(at_half)),
        "dice_mean": float(curves["dice_curve"].mean()),
        "dice_max": float(curves["dice_curve"].max()),
        "sensitivity": float(fn.sensitivity(at_half)),
        "specificity": float(fn.specificity(at_half)),
        "accuracy": float(fn.accuracy(at_half)),
        "ber": float(fn.ber(at_half)),
    }
    for name in extra:
        if name == "auc":
            scalars[name] = whole.auc()
        elif name == "context_weighted":
            assert single.image is not None  # ensured by `checked_maps`
            scalars[name] = fn.context_weighted(whole.pixels(), whole.target, single.image)
        elif name == "context":
            scalars[name] = fn.context(whole.pixels(), whole.target)
        else:
            scalars[name] = _ON_FOREGROUND[name](whole.foreground(), whole.target)
    return MapScores(scalars, curves)
