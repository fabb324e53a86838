"""The field's measures: `score` for one map, `COSMetrics` for a data set."""

from __future__ import annotations

from src.metrics.cos import COSMetrics
from src.metrics.single import MapScores, score

__all__ = ["COSMetrics", "MapScores", "score"]
