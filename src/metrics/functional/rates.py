"""Rates of the four counts: sensitivity, specificity, accuracy and the balanced error rate."""

from __future__ import annotations

from src.metrics.functional.arrays import FloatMap, divide
from src.metrics.functional.counts import Counts


def sensitivity(counts: Counts) -> FloatMap:
    """Sensitivity: tp / (tp + fn) in [0, 1], higher is better; 0 for an empty mask.

    The share of the object that is found: the retina literature's SE (or SEN), the same number as recall. Source:
    `SensitivityHandler` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(sensitivity(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.5
    """
    return divide(counts.tp, counts.tp + counts.fn)


def specificity(counts: Counts) -> FloatMap:
    """Specificity: tn / (tn + fp) in [0, 1], higher is better; 0 for a full mask.

    The share of the background that is predicted as background. Source: `SpecificityHandler` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(specificity(counts_above(np.array([[True, True, False]]), np.array([[True, False, False]]))))
    0.5
    """
    return divide(counts.tn, counts.tn + counts.fp)


def accuracy(counts: Counts) -> FloatMap:
    """Accuracy: (tp + tn) / pixels in [0, 1], higher is better.

    Source: `OverallAccuracyHandler` of pysodmetrics 1.6.2.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(accuracy(counts_above(np.array([[True, True, False, False]]), np.array([[True, False, False, False]]))))
    0.75
    """
    return (counts.tp + counts.tn) / counts.size


def ber(counts: Counts) -> FloatMap:
    """Balanced error rate: 1 − (sensitivity + specificity) / 2 in [0, 1], lower is better.

    The glass and shadow literature prints it times 100. A class without pixels has the rate 0, so the error for an
    empty or full mask is at least ½. Source: `BERHandler` of pysodmetrics 1.6.2 (Vicente et al., ECCV 2016).

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> pred = np.array([[True, True, False, False, False]])
    >>> float(ber(counts_above(pred, np.array([[True, False, False, False, False]]))))
    0.125
    """
    return 1 - (sensitivity(counts) + specificity(counts)) / 2
