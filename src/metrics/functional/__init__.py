"""Pure NumPy measures of one map: a float64 prediction in [0, 1] against a bool mask, both (H, W).

The keys of `COSMetrics` and their sources; all values are in [0, 1] unless stated otherwise. "↑": higher is better.

| key | | formula | source |
|---|---|---|---|
| mae | ↓ | mean of |p − g| | Perazzi et al., CVPR 2012 |
| s_alpha | ↑ | max(0, ½ S_object + ½ S_region) | Fan et al., ICCV 2017 |
| s_object | ↑ | Σ over object and background of share · 2x̄ / (x̄² + 1 + σ) | the same |
| s_region | ↑ | area-weighted SSIM of four regions, in [−1, 1] | the same |
| e_mean, e_max, e_adp | ↑ | mean of (1 + ξ)² / 4; a perfect map gets N / (N − 1), N pixels | Fan et al., IJCAI 2018 |
| f_mean, f_max, f_adp | ↑ | (1 + β²) P R / (β² P + R), β² = 0.3 | Achanta et al., CVPR 2009 |
| f_weighted | ↑ | F_1 of weighted precision and recall | Margolin et al., CVPR 2014 |
| iou, iou_mean, iou_max | ↑ | tp / (tp + fp + fn) | |
| dice, dice_mean, dice_max | ↑ | 2 tp / (2 tp + fp + fn) | |
| sensitivity, specificity | ↑ | tp / (tp + fn), tn / (tn + fp) | |
| accuracy | ↑ | (tp + tn) / N | |
| ber | ↓ | 1 − (sensitivity + specificity) / 2 | Vicente et al., ECCV 2016 |
| auc | ↑ | share of correctly ranked (object, background) pairs, ties ½ | Mann and Whitney, 1947 |
| boundary_iou | ↑ | IoU of the inner rims | Cheng et al., CVPR 2021 |
| ms_iou | ↑ | area under the curve of the share of edge cells found, over cell sizes | Ahmadzadeh et al., ICIP 2021 |
| hce | ↓ | clicks needed to correct the mask, ≥ 0 | Qin et al., ECCV 2022 |
| context | ↑ | harmonic mean of forward and reverse relevance | Wang et al., arXiv 2512.07076 |
| context_weighted | ↑ | the same with β² = 1.2; hidden parts of the object weigh more; needs the images | the same |

Thresholds: for plain `iou`, `dice`, the rates, boundary_iou, ms_iou and hce, foreground is what exceeds 0.5; for
`*_adp`, what reaches min(2 · mean, 1). `*_mean` and `*_max` are the mean and the maximum of the curve over 256
thresholds, which is averaged over images first. A ratio with denominator 0 (no object, nothing predicted) is 0, as in
pysodmetrics; the AUC is ½ where one class has no pixels.
"""

from __future__ import annotations

from src.metrics.functional.basic import dice, iou, mae
from src.metrics.functional.boundary import boundary_iou
from src.metrics.functional.camouflage import camouflage_degree, context_weighted
from src.metrics.functional.context import context, context_window
from src.metrics.functional.correction_effort import hce
from src.metrics.functional.counts import THRESHOLDS, Counts, counts_above, counts_at_thresholds
from src.metrics.functional.e_measure import e_measure
from src.metrics.functional.fmeasure import f_measure, precision, recall
from src.metrics.functional.multiscale import ms_iou
from src.metrics.functional.protocol import PROTOCOLS, adaptive_threshold, prepare, stretch, to_8bit
from src.metrics.functional.ranking import auc
from src.metrics.functional.rates import accuracy, ber, sensitivity, specificity
from src.metrics.functional.structure import s_alpha, s_object, s_region
from src.metrics.functional.weighted import f_weighted

__all__ = [
    "PROTOCOLS",
    "THRESHOLDS",
    "Counts",
    "accuracy",
    "adaptive_threshold",
    "auc",
    "ber",
    "boundary_iou",
    "camouflage_degree",
    "context",
    "context_weighted",
    "context_window",
    "counts_above",
    "counts_at_thresholds",
    "dice",
    "e_measure",
    "f_measure",
    "f_weighted",
    "hce",
    "iou",
    "mae",
    "ms_iou",
    "precision",
    "prepare",
    "recall",
    "s_alpha",
    "s_object",
    "s_region",
    "sensitivity",
    "specificity",
    "stretch",
    "to_8bit",
]
