"""pysodmetrics 1.6.2 under the key names of `COSMetrics`; the independent implementation that the tests compare with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import py_sod_metrics as sod


class Smeasure(sod.Smeasure):
    """Gives a region without pixels, whose weight is 0, the score 0 instead of NaN; see `functional.s_alpha`."""

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        return super().ssim(pred, gt) if pred.size else 0.0


def oracle(preds: list[np.ndarray], targets: list[np.ndarray], protocol: str) -> dict[str, np.ndarray]:
    """Scores of a list of float maps in [0, 1] against bool masks: scalars and 256-curves, averaged over the images."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure announces its removal
        handlers = {
            "iou": sod.IOUHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
            "dice": sod.DICEHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
        }
        binary = sod.FmeasureV2(handlers)
        m, s, e, f, w = sod.MAE(), Smeasure(), sod.Emeasure(), sod.Fmeasure(), sod.WeightedFmeasure()
        for pred, target in zip(preds, targets, strict=True):
            if protocol == "field":
                arguments: dict[str, Any] = {
                    "pred": np.round(pred.astype(np.float64) * 255).astype(np.uint8),
                    "gt": target.astype(np.uint8) * 255,
                }
            else:
                arguments = {"pred": pred.astype(np.float64), "gt": target, "normalize": False}
            for measure in (m, s, e, f, w, binary):
                measure.step(**arguments)
        em, fm, pr = e.get_results()["em"], f.get_results()["fm"], f.get_results()["pr"]
        at_half = binary.get_results()
        return {
            "mae": m.get_results()["mae"],
            "s_alpha": s.get_results()["sm"],
            "e_mean": em["curve"].mean(),
            "e_max": em["curve"].max(),
            "e_adp": em["adp"],
            "f_mean": fm["curve"].mean(),
            "f_max": fm["curve"].max(),
            "f_adp": fm["adp"],
            "f_weighted": w.get_results()["wfm"],
            "iou": at_half["iou"]["binary"],
            "dice": at_half["dice"]["binary"],
            "precision_curve": pr["p"],
            "recall_curve": pr["r"],
            "f_curve": fm["curve"],
            "e_curve": em["curve"],
        }


def differences(ours: dict, theirs: dict) -> dict[str, float]:
    """Largest absolute difference under each key; relative where a value exceeds 1 (E of a one-pixel map is 4.5e15)."""
    assert ours.keys() == theirs.keys()
    result = {}
    for key, value in theirs.items():
        scale = np.maximum(np.abs(value), 1.0)
        result[key] = float(np.max(np.abs(np.asarray(ours[key]) - value) / scale))
    return result
