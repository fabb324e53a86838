"""A map under the `raw` protocol: the probabilities as given, in full precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import BoolMap, FloatMap
from src.metrics.functional.basic import mae
from src.metrics.functional.counts import Counts, counts_above, counts_at_thresholds
from src.metrics.functional.protocol import adaptive_threshold, prepare
from src.metrics.functional.ranking import auc
from src.metrics.functional.structure import s_object, s_region
from src.metrics.functional.weighted import f_weighted


@dataclass(frozen=True)
class PixelMap:
    """A float64 map and its mask, and separately the valid pixels of both for the measures that count pixels.

    >>> import numpy as np
    >>> whole = PixelMap.of(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]]))
    >>> round(whole.mae(), 4), round(whole.s_object(), 4), whole.auc()
    (0.2, 0.8961, 1.0)
    """

    pred: FloatMap
    """(H, W); 0 where invalid."""
    target: BoolMap
    """(H, W); False where invalid."""
    judged_pred: FloatMap
    """The map, or the vector of its valid pixels."""
    judged_target: BoolMap

    @classmethod
    def of(cls, pred: NDArray[np.floating], target: BoolMap, valid: BoolMap | None = None) -> PixelMap:
        """Make it from a prediction in [0, 1]."""
        exact = prepare(pred, "raw", valid)
        if valid is None:
            return cls(exact, target, exact, target)
        return cls(exact, target & valid, exact[valid], target[valid])

    def counts_at_thresholds(self) -> Counts:
        """As `functional.counts_at_thresholds`."""
        return counts_at_thresholds(self.judged_pred, self.judged_target)

    def counts_adaptive(self) -> Counts:
        """Counts at `adaptive_threshold`."""
        return counts_above(self.judged_pred >= adaptive_threshold(self.judged_pred), self.judged_target)

    def counts_at_half(self) -> Counts:
        """Counts of what exceeds 0.5."""
        return counts_above(self.judged_pred > 0.5, self.judged_target)

    def mae(self) -> float:
        """As `functional.mae`."""
        return mae(self.judged_pred, self.judged_target)

    def auc(self) -> float:
        """As `functional.auc`."""
        return auc(self.judged_pred, self.judged_target)

    def s_object(self) -> float:
        """As `functional.s_object`."""
        return s_object(self.pred, self.target)

    def s_region(self) -> float:
        """As `functional.s_region`."""
        return s_region(self.pred, self.target)

    def f_weighted(self) -> float:
        """As `functional.f_weighted`."""
        return f_weighted(self.pred, self.target)

    def foreground(self) -> BoolMap:
        """Where the map exceeds 0.5, (H, W)."""
        return self.pred > 0.5

    def pixels(self) -> FloatMap:
        """The map itself."""
        return self.pred
