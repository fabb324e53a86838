"""Weighted F-measure (Margolin et al., CVPR 2014)."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d, distance_transform_edt

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap

RADIUS = 3
"""Half the 7×7 window over which errors on the object are averaged."""

_OFFSETS = np.arange(-RADIUS, RADIUS + 1)
_GAUSS = np.exp(-(_OFFSETS**2) / (2 * 5.0**2))
_GAUSS /= _GAUSS.sum()
"""One axis of `fspecial('gaussian', 7, 5)`, which is separable."""


def f_weighted(pred: FloatMap, target: BoolMap) -> float:
    """Weighted F_β with β = 1, in [0, 1], higher is better; 0 for an empty mask.

    On the object, an error counts no more than its Gaussian average, where background pixels lend the error of the
    nearest object pixel. Off the object, an error at distance d weighs 2 − exp(ln ½ / 5 · d). Ties between nearest
    object pixels are broken as SciPy breaks them. Source: `WeightedFmeasure` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> round(f_weighted(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]])), 4)
    0.7381
    """
    if not target.any():
        return 0.0
    # Outside this window error and mask are 0, and no 7×7 window of an object pixel reaches beyond it.
    window = _window(target | (pred > 0))
    pred, target = pred[window], target[window]

    nearest = distance_transform_edt(~target, return_distances=False, return_indices=True)
    error = np.abs(pred - target)
    object_error = float(_smoothed_error(error, target, nearest).sum())
    positives = int(np.count_nonzero(target))

    rows, columns = np.nonzero(~target & (error > 0))
    distance = np.sqrt((nearest[0, rows, columns] - rows) ** 2 + (nearest[1, rows, columns] - columns) ** 2)
    false_positive = float(np.vdot(error[rows, columns], 2 - np.exp(np.log(0.5) / 5 * distance)))

    true_positive = positives - object_error
    recall = 1 - object_error / positives
    precision = true_positive / (true_positive + false_positive + EPS)
    return 2 * recall * precision / (recall + precision + EPS)


def _smoothed_error(error: FloatMap, target: BoolMap, nearest: np.ndarray) -> FloatMap:
    """min(E, E averaged over 7×7) at the object's pixels, as a vector."""
    box = _window(target)
    carried = error[nearest[0][box], nearest[1][box]]
    for axis in (0, 1):
        carried = correlate1d(carried, _GAUSS, axis=axis, mode="constant", cval=0.0)
    on_object = target[box]
    return np.minimum(error[box][on_object], carried[on_object])


def _window(marked: BoolMap) -> tuple[slice, slice]:
    """The box around the marked pixels and `RADIUS` more on each side, clipped to the map."""
    spans = []
    for axis in (0, 1):
        hit = np.flatnonzero(marked.any(axis=1 - axis))
        spans.append(slice(max(int(hit[0]) - RADIUS, 0), int(hit[-1]) + RADIUS + 1))
    return spans[0], spans[1]
