"""Context measure (Wang et al., arXiv 2512.07076, 2025): overlap within a window shaped like the object."""

from __future__ import annotations

import math

import numpy as np

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap

SPREAD = 6.0
"""α: the window's standard deviation in pixels, both axes together."""


def context(pred: FloatMap, target: BoolMap, degree: FloatMap | None = None, beta_squared: float = 1.0) -> float:
    """C_β, in [0, 1], higher is better; 0 for an empty mask or an empty prediction.

    A Gaussian window takes its shape from the covariance of the object's pixels. Forward: how much of the object is
    around the predicted pixels, weighted by the prediction. Reverse: how much of the prediction, x, is around the
    object's pixels, as (1 − e^(−x)) · e / (e − 1). C is their harmonic mean for β² = 1, else the F_β of forward and
    reverse. With `degree`, (H, W), the reverse part weighs each pixel of the object by 1 + degree (see
    `context_weighted`).

    Source: `ContextMeasure` of pysodmetrics 1.6.2, including its single-precision forward filter. One difference: if
    the object's pixels are all on one slanted line, the toolbox fails on a singular matrix; here the window is the
    line.

    Needs OpenCV, which comes with albumentations.

    >>> import numpy as np
    >>> target = np.zeros((32, 32), dtype=bool)
    >>> target[8:20, 8:24] = True
    >>> pred = np.roll(target, 3, axis=1).astype(float)
    >>> round(context(target.astype(float), target), 3), round(context(pred, target), 3)
    (0.632, 0.596)
    """
    import cv2

    kernel = context_window(target)
    around = cv2.filter2D(target.astype(np.float32), cv2.CV_32F, kernel)
    forward = float((np.where(pred > 0, around, 0) * pred).sum()) / (float(pred.sum()) + EPS)
    completeness = 1 - np.exp(-cv2.filter2D(np.ascontiguousarray(pred, dtype=np.float64), -1, kernel))
    weights = np.ones(target.shape) if degree is None else 1 + degree
    reverse = (
        math.e / (math.e - 1) * float((completeness * weights)[target].sum()) / (float(weights[target].sum()) + EPS)
    )
    return (1 + beta_squared) * forward * reverse / (beta_squared * forward + reverse + EPS)


def context_window(target: BoolMap) -> FloatMap:
    """Return the Gaussian window of an object, (odd, odd) float64: it sums to 1 and spans ± 3 standard deviations.

    >>> import numpy as np
    >>> line = np.zeros((5, 9), dtype=bool)
    >>> line[2] = True
    >>> context_window(line).shape
    (1, 37)
    """
    points = np.argwhere(target)
    if len(points) <= 1:
        covariance, reach = np.diag([0.25, 0.25]), [1, 1]
    else:
        covariance = np.cov(points, rowvar=False)
        for axis in (0, 1):
            if covariance[axis, axis] == 0:
                covariance[axis, axis] = EPS
        deviation = np.sqrt(np.diag(covariance))
        total = np.sqrt(covariance[0, 0] + covariance[1, 1])
        reach = [round(3 * (SPREAD * float(single) / total)) for single in deviation]
        covariance = SPREAD**2 * covariance / total**2
        if _slanted_line(points):
            covariance += np.diag([1e-9, 1e-9])
    rows, columns = np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij")
    offsets = np.stack([rows, columns], axis=-1)
    weights = np.exp(-0.5 * np.einsum("...i,ij,...j->...", offsets, np.linalg.inv(covariance), offsets))
    return weights / weights.sum()


def _slanted_line(points: np.ndarray) -> bool:
    """Return whether all points are on one line that is neither a row nor a column; exact, in integers."""
    y, x = (points - points[0]).T.astype(np.int64)
    n = len(points)
    spread_y, spread_x = n * int(y @ y) - int(y.sum()) ** 2, n * int(x @ x) - int(x.sum()) ** 2
    shared = n * int(y @ x) - int(y.sum()) * int(x.sum())
    return spread_y > 0 and spread_x > 0 and spread_y * spread_x == shared**2
