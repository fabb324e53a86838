"""Structure measure S_α (Fan et al., ICCV 2017)."""

from __future__ import annotations

import math

import numpy as np

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap

ALPHA = 0.5
"""Weight of the object part against the region part."""


def s_alpha(pred: FloatMap, target: BoolMap) -> float:
    """S_α in [0, 1], higher is better: α · S_object + (1 − α) · S_region, not below 0.

    An empty mask scores 1 − mean(pred), a full one mean(pred). Source: `Smeasure` of pysodmetrics 1.6.2, equal to it
    except where the object's centroid lies in the last row or column: two or three of the four regions are then empty,
    the toolbox takes their mean and returns NaN; here a region without pixels has no weight.

    >>> import numpy as np
    >>> target = np.array([[True, False], [False, False]])
    >>> round(s_alpha(np.array([[0.8, 0.2], [0.4, 0.0]]), target), 4)
    0.948
    """
    return combined(s_object(pred, target), s_region(pred, target))


def combined(object_part: float, region_part: float) -> float:
    """S_α from its two parts.

    >>> combined(0.8, 0.6)
    0.7
    """
    return max(0.0, ALPHA * object_part + (1 - ALPHA) * region_part)


def s_object(pred: FloatMap, target: BoolMap) -> float:
    """Object part, in [0, 1]: how high and even the map is on the object, and how low and even off it.

    Both parts of an empty (full) mask are 1 − mean(pred) (mean(pred)).

    >>> import numpy as np
    >>> round(s_object(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]])), 4)
    0.8961
    """
    inside, outside = pred[target], pred[~target]
    if not inside.size or not outside.size:
        return _one_class(pred, target)
    share = inside.size / target.size
    inside_mean, outside_mean = float(inside.mean()), float(outside.mean())
    return share * _evenness(inside_mean, _std(inside, inside_mean)) + (1 - share) * _evenness(
        1 - outside_mean, _std(outside, outside_mean)
    )


def s_region(pred: FloatMap, target: BoolMap) -> float:
    """Region part, in [−1, 1]: structural similarity of the four regions around the object's centroid, weighted by area.

    >>> import numpy as np
    >>> s_region(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]]))
    1.0
    """
    if target.all() or not target.any():
        return _one_class(pred, target)
    height, width = target.shape
    bottom, right = _split(target, axis=0), _split(target, axis=1)
    score = 0.0
    for rows in (slice(0, bottom), slice(bottom, height)):
        for columns in (slice(0, right), slice(right, width)):
            region = pred[rows, columns]
            if region.size:
                score += region.size / target.size * _ssim(region, target[rows, columns])
    return score


def _one_class(pred: FloatMap, target: BoolMap) -> float:
    mean = float(pred.mean())
    return mean if target.flat[0] else 1 - mean


def _evenness(mean: float, std: float) -> float:
    return 2 * mean / (mean**2 + 1 + std + EPS)


def _std(values: FloatMap, mean: float) -> float:
    """Sample standard deviation, in two passes: the root of a cancelled difference of moments would be off by 1e-8."""
    if values.size == 1:
        return 0.0
    deviation = values - mean
    return math.sqrt(float(np.vdot(deviation, deviation)) / (values.size - 1))


def _split(target: BoolMap, axis: int) -> int:
    """First row (column) of the second half: the rounded centroid, plus one, as MATLAB's 1-based ranges include it."""
    counts = np.count_nonzero(target, axis=1 - axis)
    return round(float(counts @ np.arange(counts.size)) / float(counts.sum())) + 1


def _ssim(pred: FloatMap, target: BoolMap) -> float:
    """Similarity 4 x̄ ȳ σ_xy / ((x̄² + ȳ²)(σ_x² + σ_y²)) of one region; sums over the mask stand in for its products."""
    size, positives = target.size, int(np.count_nonzero(target))
    degrees = size - 1 + EPS
    x, y = float(pred.mean()), positives / size
    deviation = pred - x
    variance = float(np.vdot(deviation, deviation)) / degrees
    if positives in (0, size):
        # The numerator is 0. Whether the denominator is 0 too decides between 1 and 0, and for a constant map that hangs on
        # the last bit of its mean; hence NumPy's mean of the same view and two passes, as in the toolbox.
        return 1.0 if (x**2 + y**2) * variance == 0 else 0.0
    target_variance = positives * (size - positives) / size / degrees
    covariance = float(deviation[target].sum()) / degrees
    return 4 * x * y * covariance / ((x**2 + y**2) * (variance + target_variance) + EPS)
