"""Pixel counts of binarised predictions, at one threshold or at all 256 at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from src.metrics.functional.arrays import BoolMap, FloatMap

THRESHOLDS: FloatMap = np.arange(255, -1, -1) / 255
"""Threshold of each entry of a curve, (256,) in [0, 1], falling: in entry i foreground is ⌊255 p⌋ ≥ 255 − i.

The order is that of pysodmetrics, so curves can be compared entry by entry; plot a curve against this array."""


@dataclass(frozen=True)
class Counts:
    """Confusion counts in pixels, as float64 arrays of one shape: () at one threshold, (256,) along `THRESHOLDS`."""

    tp: FloatMap
    fp: FloatMap
    positives: int
    """Pixels of the object."""
    size: int
    """Pixels of the map."""

    @property
    def predicted(self) -> FloatMap:
        """Pixels that the prediction calls foreground."""
        return self.tp + self.fp

    @property
    def fn(self) -> FloatMap:
        """False negatives."""
        return self.positives - self.tp

    @property
    def tn(self) -> FloatMap:
        """True negatives."""
        return self.size - self.positives - self.fp


def counts_above(foreground: BoolMap, target: BoolMap) -> Counts:
    """Return the counts of one binarised prediction, (H, W) bool.

    >>> import numpy as np
    >>> counts = counts_above(np.array([[True, True, False]]), np.array([[True, False, True]]))
    >>> float(counts.tp), float(counts.fp), float(counts.fn), float(counts.tn)
    (1.0, 1.0, 1.0, 0.0)
    """
    predicted = np.asarray(np.count_nonzero(foreground), dtype=np.float64)
    tp = np.asarray(np.count_nonzero(foreground & target), dtype=np.float64)
    return Counts(tp, predicted - tp, int(np.count_nonzero(target)), target.size)


def counts_at_thresholds(pred: FloatMap, target: BoolMap) -> Counts:
    """Return the counts at the 256 thresholds, from one 2×256 histogram (mask × ⌊255 p⌋) and its running sum.

    The toolbox truncates, it does not round: after min–max, 8-bit levels are no longer multiples of 1/255.

    >>> import numpy as np
    >>> counts = counts_at_thresholds(np.array([[1.0, 0.5]]), np.array([[True, False]]))
    >>> counts.tp[[0, 127, 128, 255]], counts.fp[[0, 127, 128, 255]]  # ⌊255 · 0.5⌋ = 127 is reached by entry 255 − 127
    (array([1., 1., 1., 1.]), array([0., 0., 1., 1.]))
    """
    bins = (pred * 255).astype(np.uint8)
    everything = np.bincount(bins.ravel(), minlength=256)
    inside = np.bincount(bins[target], minlength=256)
    tp = np.cumsum(inside[::-1], dtype=np.float64)
    predicted = np.cumsum(everything[::-1], dtype=np.float64)
    return Counts(tp, predicted - tp, int(tp[-1]), target.size)
