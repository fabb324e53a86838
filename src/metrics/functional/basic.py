"""Measures that need no more than an error or a count: MAE, IoU, Dice."""

from __future__ import annotations

import numpy as np

from src.metrics.functional.arrays import BoolMap, FloatMap, divide
from src.metrics.functional.counts import Counts


def mae(pred: FloatMap, target: BoolMap) -> float:
    """Mean absolute error in [0, 1], lower is better (Perazzi et al., CVPR 2012)."""
    return float(np.abs(pred - target).mean())


def iou(counts: Counts) -> FloatMap:
    """tp / (tp + fp + fn) in [0, 1]. 0, not 1, when mask and prediction are both empty, as in pysodmetrics."""
    return divide(counts.tp, counts.predicted + counts.fn)


def dice(counts: Counts) -> FloatMap:
    """2 tp / (2 tp + fp + fn) in [0, 1]. 0, not 1, when mask and prediction are both empty, as in pysodmetrics."""
    return divide(2 * counts.tp, counts.predicted + counts.positives)
