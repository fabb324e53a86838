"""The field's measures: `score` for one map, `score_many` for several, `COSMetrics` for a data set, `MEASURES` for what each key means.

Masks and predictions are (H, W); predictions are floats in [0, 1]. Every key, its source, range and direction: the table
in `src.metrics.functional`.
"""

from __future__ import annotations

from src.metrics.metric import COSMetrics
from src.metrics.registry import EXTRAS, MEASURES, STANDARD, Measure
from src.metrics.score_map import CURVES, MapScores, score, score_many

__all__ = ["CURVES", "EXTRAS", "MEASURES", "STANDARD", "COSMetrics", "MapScores", "Measure", "score", "score_many"]
