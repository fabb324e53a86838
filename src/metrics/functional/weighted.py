"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap

Box = tuple[int, int, int, int]
"""First row, last row + 1, first column, last column + 1 of the object."""


def f_weighted(pred: FloatMap, target: BoolMap) -> float:
    """Weighted F_β with β = 1, in [0, 1], higher is better; 0 for an empty mask.

    On the object, an error counts at most as much as its Gaussian average, in which each background pixel has the error
    of its nearest object pixel. Off the object, an error at distance d weighs 2 − exp(ln ½ / 5 · d). Ties between
    nearest object pixels are broken as in SciPy. Source: `WeightedFmeasure` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> round(f_weighted(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]])), 4)
    0.7381
    """
    rows, columns = np.count_nonzero(target, axis=1), np.count_nonzero(target, axis=0)
    if not rows.any():
        return 0.0
    return f_weighted_in_box(
        np.require(pred, np.float64, ["C", "W"]), None, 0.0, target, object_box(rows, columns), int(rows.sum())
    )


def f_weighted_in_box(
    pred: NDArray[Any], values: FloatMap | None, floor: float, target: BoolMap, box: Box, positives: int
) -> float:
    """Return `f_weighted` of `values[pred]` (of `pred` itself if `values` is None).

    Args:
        pred: (H, W) indices into `values`, or the prediction itself.
        values: the prediction in [0, 1] of each index, or None.
        floor: a background pixel has an error where `pred` exceeds it.
        target: (H, W) mask with an object.
        box: the object's bounding box.
        positives: number of the object's pixels.

    >>> import numpy as np
    >>> levels, target = np.array([[204, 51], [102, 0]], dtype=np.uint8), np.array([[True, False], [False, False]])
    >>> round(f_weighted_in_box(levels, np.arange(256) / 255, 0, target, (0, 1, 0, 1), 1), 4)
    0.7381
    """
    from src.metrics.functional.weighted_kernel import weighted_errors

    mask = np.require(target, np.bool_, ["C", "W"]).view(np.uint8)
    object_error, false_positive = weighted_errors(pred, values, floor, mask, box, *_tables())
    true_positive = positives - object_error
    recall = 1 - object_error / positives
    precision = true_positive / (true_positive + false_positive + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def object_box(rows: NDArray[Any], columns: NDArray[Any]) -> Box:
    """Return the object's bounding box from its number of pixels per row and per column.

    >>> import numpy as np
    >>> object_box(np.array([0, 2, 1]), np.array([1, 2, 0, 0]))
    (1, 3, 0, 2)
    """
    down, across = np.flatnonzero(rows), np.flatnonzero(columns)
    return int(down[0]), int(down[-1]) + 1, int(across[0]), int(across[-1]) + 1


@functools.cache
def _tables() -> tuple[tuple[float, ...], FloatMap]:
    """Return the window's weights from its middle outwards, and the weight of an error at each squared distance.

    The window is `fspecial('gaussian', 7, 5)`, which is separable: one axis of it is enough.
    """
    from src.metrics.functional.weighted_kernel import FRINGE, REACH

    gauss = np.exp(-(np.arange(FRINGE + 1) ** 2) / (2 * 5.0**2))
    weights = 2 - np.exp(np.log(0.5) / 5 * np.sqrt(np.arange(REACH**2 + 1)))
    return tuple((gauss / (2 * gauss.sum() - gauss[0])).tolist()), weights
