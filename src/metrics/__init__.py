"""The field's measures: `score` for one map, `score_many` for several, `COSMetrics` for a data set, `MEASURES` for what each key means.

Masks and predictions are (H, W); predictions are floats in [0, 1]. Every key, its source, range and direction: the
table in `src.metrics.functional`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.metrics.registry import EXTRAS, MEASURES, STANDARD, Measure
from src.metrics.score_map import CURVES, MapScores, score, score_many

if TYPE_CHECKING:
    from src.metrics.metric import COSMetrics

__all__ = ["CURVES", "EXTRAS", "MEASURES", "STANDARD", "COSMetrics", "MapScores", "Measure", "score", "score_many"]


def __getattr__(name: str) -> Any:
    """Import `COSMetrics` when it is asked for: files are scored without torch, whose import takes seconds."""
    if name == "COSMetrics":
        from src.metrics.metric import COSMetrics

        return COSMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
