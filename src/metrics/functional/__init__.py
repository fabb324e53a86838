"""Pure NumPy measures of one map: a float64 prediction in [0, 1] against a bool mask, both (H, W)."""

from __future__ import annotations

from src.metrics.functional.basic import dice, iou, mae
from src.metrics.functional.counts import THRESHOLDS, Counts, counts_above, counts_at_thresholds
from src.metrics.functional.enhanced import e_measure
from src.metrics.functional.fmeasure import f_measure, precision, recall
from src.metrics.functional.protocol import PROTOCOLS, adaptive_threshold, prepare, to_8bit
from src.metrics.functional.structure import s_alpha
from src.metrics.functional.weighted import f_weighted

__all__ = [
    "PROTOCOLS",
    "THRESHOLDS",
    "Counts",
    "adaptive_threshold",
    "counts_above",
    "counts_at_thresholds",
    "dice",
    "e_measure",
    "f_measure",
    "f_weighted",
    "iou",
    "mae",
    "precision",
    "prepare",
    "recall",
    "s_alpha",
    "to_8bit",
]
