"""Exact area under the ROC curve: the share of (object, background) pixel pairs that the map ranks correctly."""

from __future__ import annotations

import numpy as np

from src.metrics.functional.arrays import BoolMap, FloatMap


def auc(pred: FloatMap, target: BoolMap) -> float:
    """ROC-AUC of one map in [0, 1], higher is better; ½ for a constant map.

    It is the Mann–Whitney statistic over all distinct values of the map, where a tie counts ½; there is no grid of
    thresholds. An empty or full mask has no pair to rank and gives ½.

    Args:
        pred: the map, any number of dimensions.
        target: the mask, in the same shape.

    >>> import numpy as np
    >>> auc(np.array([0.9, 0.4, 0.4, 0.1]), np.array([True, True, False, False]))
    0.875
    """
    levels, index = np.unique(pred, return_inverse=True)
    everything = np.bincount(index.ravel(), minlength=levels.size)
    inside = np.bincount(index.ravel(), weights=target.ravel(), minlength=levels.size).astype(np.int64)
    return auc_from_counts(inside, everything - inside)


def auc_from_counts(inside: np.ndarray, outside: np.ndarray) -> float:
    """Return `auc` from the number of pixels on and off the object per value, (levels,) int64 each, by rising value.

    >>> import numpy as np
    >>> auc_from_counts(np.array([0, 1, 1]), np.array([1, 1, 0]))
    0.875
    """
    pairs = int(inside.sum()) * int(outside.sum())
    if pairs == 0:
        return 0.5
    below = np.cumsum(outside) - outside
    # Twice the statistic is an integer; 2·pairs stays far below 2⁶³ for any map that fits in memory.
    return int(inside @ (2 * below + outside)) / (2 * pairs)
