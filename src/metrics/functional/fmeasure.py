"""Precision, recall and F_β from counts."""

from __future__ import annotations

from src.metrics.functional.arrays import FloatMap, divide
from src.metrics.functional.counts import Counts

BETA_SQUARED = 0.3
"""The field's β²: precision weighs more than recall (Achanta et al., CVPR 2009)."""


def precision(counts: Counts) -> FloatMap:
    """Precision: tp / (tp + fp) in [0, 1]; 0 where nothing is predicted.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(precision(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.5
    """
    return divide(counts.tp, counts.predicted)


def recall(counts: Counts) -> FloatMap:
    """Recall: tp / (tp + fn) in [0, 1]; 0 for an empty mask.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(recall(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.5
    """
    return divide(counts.tp, counts.tp + counts.fn)


def f_measure(counts: Counts) -> FloatMap:
    """F_β = (1 + β²) P R / (β² P + R) in [0, 1], in the shape of the counts, higher is better; 0 where P = R = 0.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(f_measure(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.5
    """
    p, r = precision(counts), recall(counts)
    return divide((1 + BETA_SQUARED) * p * r, BETA_SQUARED * p + r)
