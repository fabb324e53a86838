"""pysodmetrics 1.6.2 under the key names of `COSMetrics`; the independent implementation that the tests compare with."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import py_sod_metrics as sod


class Smeasure(sod.Smeasure):
    """Gives a region without pixels, whose weight is 0, the score 0 instead of NaN (see `functional.s_alpha`); keeps its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: dict[str, list[float]] = {"s_object": [], "s_region": []}

    def cal_sm(self, pred: np.ndarray, gt: np.ndarray) -> float:
        whole = super().cal_sm(pred, gt)
        if 0 < np.count_nonzero(gt) < gt.size:
            self.parts["s_object"].append(self.object(pred, gt))
            self.parts["s_region"].append(self.region(pred, gt))
        else:
            for part in self.parts.values():
                part.append(whole)
        return whole

    def ssim(self, pred: np.ndarray, gt: np.ndarray) -> float:
        return super().ssim(pred, gt) if pred.size else 0.0


class MSIoU(sod.MSIoU):
    """Counts in double precision: the toolbox' half-precision sums are rounded above 2048 edge cells; see `functional.ms_iou`."""

    def get_edge(self, mask: np.ndarray) -> np.ndarray:
        return super().get_edge(mask).astype(np.float64)


def camouflage_context(pred: np.ndarray, target: np.ndarray, image: np.ndarray) -> tuple[float, np.ndarray]:
    """C_β^ω of one map as given, and the camouflage degree of its pixels."""
    measure = sod.CamouflageContextMeasure()
    measure.step(pred, target, img=image, normalize=False)
    return measure.get_results()["cm" if "cm" in measure.get_results() else "ccm"], measure._calculate_camouflage_degree(image, target)[1]


EXTRAS = ("ms_iou", "hce", "context")
"""The extras that pysodmetrics has."""


def oracle(preds: list[np.ndarray], targets: list[np.ndarray], protocol: str, extra: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Scores of a list of float maps in [0, 1] against bool masks: scalars and 256-curves, averaged over the images.

    Without `auc` and `boundary_iou`, which the toolbox has not.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Fmeasure announces its removal, NumPy that of trapz
        handlers = {
            "iou": sod.IOUHandler(with_dynamic=True, with_adaptive=False, with_binary=True),
            "dice": sod.DICEHandler(with_dynamic=True, with_adaptive=False, with_binary=True),
            "sensitivity": sod.SensitivityHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
            "specificity": sod.SpecificityHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
            "accuracy": sod.OverallAccuracyHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
            "ber": sod.BERHandler(with_dynamic=False, with_adaptive=False, with_binary=True),
        }
        binary = sod.FmeasureV2(handlers)
        slow = {
            "ms_iou": MSIoU(with_dynamic=False, with_adaptive=False, with_binary=True),
            "hce": sod.HumanCorrectionEffortMeasure(),
            "context": sod.ContextMeasure(),
        }
        asked = [slow[name] for name in extra]
        m, s, e, f, w = sod.MAE(), Smeasure(), sod.Emeasure(), sod.Fmeasure(), sod.WeightedFmeasure()
        for pred, target in zip(preds, targets, strict=True):
            if protocol == "field":
                arguments: dict[str, Any] = {
                    "pred": np.round(pred.astype(np.float64) * 255).astype(np.uint8),
                    "gt": target.astype(np.uint8) * 255,
                }
            else:
                arguments = {"pred": pred.astype(np.float64), "gt": target, "normalize": False}
            for measure in (m, s, e, f, w, binary, *asked):
                measure.step(**arguments)
        em, fm, pr = e.get_results()["em"], f.get_results()["fm"], f.get_results()["pr"]
        at_half = binary.get_results()
        return {
            "mae": m.get_results()["mae"],
            "s_alpha": s.get_results()["sm"],
            **{name: np.mean(part) for name, part in s.parts.items()},
            "e_mean": em["curve"].mean(),
            "e_max": em["curve"].max(),
            "e_adp": em["adp"],
            "f_mean": fm["curve"].mean(),
            "f_max": fm["curve"].max(),
            "f_adp": fm["adp"],
            "f_weighted": w.get_results()["wfm"],
            **{name: at_half[name]["binary"] for name in handlers},
            **{name: next(iter(slow[name].get_results().values())) for name in extra},
            **{f"{name}_mean": at_half[name]["dynamic"].mean() for name in ("iou", "dice")},
            **{f"{name}_max": at_half[name]["dynamic"].max() for name in ("iou", "dice")},
            **{f"{name}_curve": at_half[name]["dynamic"] for name in ("iou", "dice")},
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
