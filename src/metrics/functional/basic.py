"""Measures that only need an error or a count: MAE, IoU, Dice."""

from __future__ import annotations

import numpy as np

from src.metrics.functional.arrays import BoolMap, FloatMap, divide
from src.metrics.functional.counts import Counts


def mae(pred: FloatMap, target: BoolMap) -> float:
    """Mean absolute error in [0, 1], lower is better (Perazzi et al., CVPR 2012).

    >>> import numpy as np
    >>> mae(np.array([[0.75, 0.25]]), np.array([[True, False]]))
    0.25
    """
    return float(np.abs(pred - target).mean())


def iou(counts: Counts) -> FloatMap:
    """IoU: tp / (tp + fp + fn) in [0, 1], higher is better.

    0, not 1, when mask and prediction are both empty, as in pysodmetrics.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(iou(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.3333333333333333
    """
    return divide(counts.tp, counts.predicted + counts.fn)


def dice(counts: Counts) -> FloatMap:
    """Dice: 2 tp / (2 tp + fp + fn) in [0, 1], higher is better.

    0, not 1, when mask and prediction are both empty, as in pysodmetrics.

    >>> import numpy as np
    >>> from src.metrics.functional import counts_above
    >>> float(dice(counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))))
    0.5
    """
    return divide(2 * counts.tp, counts.predicted + counts.positives)
