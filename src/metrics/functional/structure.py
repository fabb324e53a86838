"""Structure measure S_α (Fan et al., ICCV 2017)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap

ALPHA = 0.5
"""α: weight of the object part; the region part has 1 − α."""


class Spread(NamedTuple):
    """Statistics of the map's values on (or off) the object, for the object part."""

    size: int
    mean: float
    squares: float
    """Σ (x − mean)², in two passes: a difference of moments would cancel, and be off by 1e-8 after the root."""


class Region(NamedTuple):
    """Statistics of one of the four regions, for the region part."""

    size: int
    positives: int
    mean: float
    squares: float
    """Σ (x − mean)²; whether it is exactly 0 matters, see `similarity`."""
    covariance: float
    """Σ (x − mean) over the object's pixels."""


def s_alpha(pred: FloatMap, target: BoolMap) -> float:
    """S_α in [0, 1], higher is better: max(0, α · S_object + (1 − α) · S_region).

    An empty mask gives 1 − mean(pred), a full one mean(pred). Source: `Smeasure` of pysodmetrics 1.6.2. One difference:
    if the object's centroid is in the last row or column, two or three of the four regions are empty; the toolbox
    takes their mean and returns NaN, here a region without pixels has no weight.

    >>> import numpy as np
    >>> target = np.array([[True, False], [False, False]])
    >>> round(s_alpha(np.array([[0.8, 0.2], [0.4, 0.0]]), target), 4)
    0.948
    """
    return combined(s_object(pred, target), s_region(pred, target))


def combined(object_part: float, region_part: float) -> float:
    """Return S_α from its two parts.

    >>> combined(0.8, 0.6)
    0.7
    """
    return max(0.0, ALPHA * object_part + (1 - ALPHA) * region_part)


def s_object(pred: FloatMap, target: BoolMap) -> float:
    """Object part of S_α, in [0, 1]: how high and even the map is on the object, and how low and even off it.

    For an empty mask both parts of S_α are 1 − mean(pred), for a full one mean(pred).

    >>> import numpy as np
    >>> round(s_object(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]])), 4)
    0.8961
    """
    inside, outside = pred[target], pred[~target]
    if not inside.size or not outside.size:
        return one_class(float(pred.mean()), full=not outside.size)
    return object_part(_spread(inside), _spread(outside))


def s_region(pred: FloatMap, target: BoolMap) -> float:
    """Region part of S_α, in [−1, 1]: area-weighted similarity of the four regions around the object's centroid.

    >>> import numpy as np
    >>> s_region(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]]))
    1.0
    """
    rows, columns = np.count_nonzero(target, axis=1), np.count_nonzero(target, axis=0)
    positives = int(rows.sum())
    if positives in (0, target.size):
        return one_class(float(pred.mean()), full=positives > 0)
    bottom, right = split(rows), split(columns)
    score = 0.0
    for down in (slice(0, bottom), slice(bottom, None)):
        for across in (slice(0, right), slice(right, None)):
            region = pred[down, across]
            if region.size:
                score += region.size / target.size * similarity(_region(region, target[down, across]))
    return score


def one_class(mean: float, full: bool) -> float:
    """Return either part of S_α for a full or an empty mask.

    >>> one_class(0.25, full=False)
    0.75
    """
    return mean if full else 1 - mean


def split(counts: np.ndarray) -> int:
    """Return the first row (column) of the second half: the object's rounded centroid plus one.

    Plus one, because MATLAB's ranges are 1-based and include the centroid. `counts`: the object's pixels per row
    (column).

    >>> split(np.array([0, 1, 1, 1, 0]))
    3
    """
    return round(float(counts @ np.arange(counts.size)) / float(counts.sum())) + 1


def object_part(inside: Spread, outside: Spread) -> float:
    """Return S_object from the statistics of the map on and off the object.

    >>> object_part(Spread(4, 1.0, 0.0), Spread(12, 0.0, 0.0))
    1.0
    """
    share = inside.size / (inside.size + outside.size)
    return share * _evenness(inside.mean, inside) + (1 - share) * _evenness(1 - outside.mean, outside)


def similarity(region: Region) -> float:
    """Return 4 x̄ ȳ σ_xy / ((x̄² + ȳ²)(σ_x² + σ_y²)) of a region; as y is 0 or 1, sums over the mask give its products.

    >>> round(similarity(Region(size=4, positives=2, mean=0.5, squares=1.0, covariance=1.0)), 12)
    1.0
    """
    size, positives = region.size, region.positives
    degrees = size - 1 + EPS
    x, y = region.mean, positives / size
    variance = region.squares / degrees
    if positives in (0, size):
        # The numerator is 0. Whether the denominator is 0 too decides between 1 and 0.
        return 1.0 if (x**2 + y**2) * variance == 0 else 0.0
    target_variance = positives * (size - positives) / size / degrees
    return 4 * x * y * (region.covariance / degrees) / ((x**2 + y**2) * (variance + target_variance) + EPS)


def _evenness(mean: float, spread: Spread) -> float:
    deviation = math.sqrt(spread.squares / (spread.size - 1)) if spread.size > 1 else 0.0
    return 2 * mean / (mean**2 + 1 + deviation + EPS)


def _spread(values: FloatMap) -> Spread:
    mean = float(values.mean())
    deviation = values - mean
    return Spread(values.size, mean, float(np.vdot(deviation, deviation)))


def _region(pred: FloatMap, target: BoolMap) -> Region:
    # In a constant region `squares` depends on the last bit of the mean: take NumPy's mean of the view, as the toolbox.
    mean = float(pred.mean())
    deviation = pred - mean
    return Region(
        pred.size,
        int(np.count_nonzero(target)),
        mean,
        float(np.vdot(deviation, deviation)),
        float(deviation[target].sum()),
    )
