"""Area under the ROC curve, exactly: the share of (object, background) pixel pairs that the map ranks rightly."""

from __future__ import annotations

import numpy as np

from src.metrics.functional.arrays import BoolMap, FloatMap


def auc(pred: FloatMap, target: BoolMap) -> float:
    """ROC-AUC of one map in [0, 1], higher is better, ½ for a map that says nothing.

    The Mann–Whitney statistic over every distinct value of the map, a tie counting ½; no threshold grid is involved.
    ½ where the mask is empty or full: there is no pair to rank.

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
    """`auc` from the pixels on and off the object that have each value, (levels,) int64 each, by rising value.

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
