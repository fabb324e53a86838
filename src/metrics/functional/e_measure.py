"""Enhanced-alignment measure E_φ from counts (Fan et al., IJCAI 2018)."""

from __future__ import annotations

from src.metrics.functional.arrays import EPS, FloatMap
from src.metrics.functional.counts import Counts


def e_measure(counts: Counts) -> FloatMap:
    """Return E_φ in the shape of the counts, at least 0, higher is better.

    Both binary maps are centred by their means. A pixel's alignment ξ = 2ab / (a² + b²) of the centred values a, b
    takes one of four values (prediction × mask), so the sum of φ = (1 + ξ)² / 4 over pixels follows from four counts.
    With an empty mask the score is the share of pixels predicted as background, with a full one as foreground. The sum
    is divided by H·W − 1, as in the authors' code: a perfect map gets H·W / (H·W − 1), a little above 1.

    Source: `Emeasure` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> target = np.array([[True, False], [False, False]])
    >>> round(float(e_measure(counts_above(target, target))), 4)
    1.3333
    """
    if counts.positives == 0:
        total = counts.size - counts.predicted
    elif counts.positives == counts.size:
        total = counts.predicted
    else:
        pred_mean, target_mean = counts.predicted / counts.size, counts.positives / counts.size
        total = (
            counts.tp * _enhanced(1 - pred_mean, 1 - target_mean)
            + counts.fp * _enhanced(1 - pred_mean, -target_mean)
            + counts.fn * _enhanced(-pred_mean, 1 - target_mean)
            + counts.tn * _enhanced(-pred_mean, -target_mean)
        )
    return total / (counts.size - 1 + EPS)


def _enhanced(pred: FloatMap, target: float) -> FloatMap:
    """Return φ of two centred values."""
    alignment = 2 * pred * target / (pred**2 + target**2 + EPS)
    return (alignment + 1) ** 2 / 4
