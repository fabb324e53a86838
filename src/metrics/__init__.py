"""The field's measures.

`score` scores one map, `score_many` several and `COSMetrics` a data set; `MEASURES` says what each key means.

Masks and predictions are (H, W); predictions are floats in [0, 1]. The table in `src.metrics.functional` lists every
key with its source, range and direction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from src.metrics.registry import EXTRAS, MEASURES, STANDARD, Measure
from src.metrics.score_map import CURVES, MapScores, score, score_many

if TYPE_CHECKING:
    from src.metrics.metric import COSMetrics

__all__ = ["CURVES", "EXTRAS", "MEASURES", "STANDARD", "COSMetrics", "MapScores", "Measure", "score", "score_many"]


def __getattr__(name: str) -> Any:
    """Import `COSMetrics` on first use: files are scored without torch, whose import takes seconds."""
    if name == "COSMetrics":
        from src.metrics.metric import COSMetrics

        return COSMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
