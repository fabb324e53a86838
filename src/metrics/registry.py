"""The registry: printed name, direction and meaning of every key of `COSMetrics`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """One scalar of `COSMetrics.compute()`.

    Attributes:
        name: its key.
        label: its name in text and terminals.
        latex: its name in a paper's table.
        higher_is_better: its direction.
        meaning: one line, including the rule for the threshold.
        extra: only computed if `metrics.extra` names it.
        needs_image: needs the images as well as the maps.
    """

    name: str
    label: str
    latex: str
    higher_is_better: bool
    meaning: str
    extra: bool = False
    needs_image: bool = False

    @property
    def arrow(self) -> str:
        """↑ or ↓, as table headers print it."""
        return "↑" if self.higher_is_better else "↓"


_ADAPTIVE = "at the adaptive threshold min(2·mean, 1)"
_HALF = "where the map exceeds 0.5, mean over images"
_MEAN = "mean over 256 thresholds of the curve that is averaged over images"
_MAX = "maximum over 256 thresholds of the curve that is averaged over images"

_ALL = (
    Measure("mae", "MAE", r"$\mathrm{MAE}$", False, "mean absolute error of the map"),
    Measure(
        "s_alpha",
        "S_α",
        r"$S_\alpha$",
        True,
        "structure measure, half object part, half region part (Fan et al., ICCV 2017)",
    ),
    Measure(
        "s_object", "S_object", r"$S_o$", True, "object part of S_α: high and even on the object, low and even off it"
    ),
    Measure(
        "s_region",
        "S_region",
        r"$S_r$",
        True,
        "region part of S_α: structural similarity in the four regions around the centroid",
    ),
    Measure("e_mean", "E_φ mean", r"$E_\phi^{mn}$", True, f"enhanced alignment (Fan et al., IJCAI 2018), {_MEAN}"),
    Measure("e_max", "E_φ max", r"$E_\phi^{mx}$", True, f"enhanced alignment, {_MAX}"),
    Measure("e_adp", "E_φ adp", r"$E_\phi^{ad}$", True, f"enhanced alignment {_ADAPTIVE}"),
    Measure("f_mean", "F_β mean", r"$F_\beta^{mn}$", True, f"F-measure with β² = 0.3, {_MEAN}"),
    Measure("f_max", "F_β max", r"$F_\beta^{mx}$", True, f"F-measure with β² = 0.3, {_MAX}"),
    Measure("f_adp", "F_β adp", r"$F_\beta^{ad}$", True, f"F-measure with β² = 0.3 {_ADAPTIVE}"),
    Measure(
        "f_weighted",
        "F_β^w",
        r"$F_\beta^w$",
        True,
        "weighted F-measure with β = 1 on the map, no threshold (Margolin et al., CVPR 2014)",
    ),
    Measure("iou", "IoU@0.5", r"$\mathrm{IoU}_{0.5}$", True, f"intersection over union {_HALF}"),
    Measure("iou_mean", "mIoU", r"$\mathrm{mIoU}$", True, f"IoU, {_MEAN} (the polyp literature's mIoU)"),
    Measure("iou_max", "IoU max", r"$\mathrm{IoU}^{mx}$", True, f"IoU, {_MAX}"),
    Measure("dice", "Dice@0.5", r"$\mathrm{Dice}_{0.5}$", True, f"Dice coefficient {_HALF}"),
    Measure("dice_mean", "mDice", r"$\mathrm{mDice}$", True, f"Dice, {_MEAN} (the polyp literature's mDice)"),
    Measure("dice_max", "Dice max", r"$\mathrm{Dice}^{mx}$", True, f"Dice, {_MAX}"),
    Measure("sensitivity", "SE", r"$\mathrm{SE}$", True, f"share of the object found {_HALF}; 0 for an empty mask"),
    Measure(
        "specificity", "SP", r"$\mathrm{SP}$", True, f"share of the background left alone {_HALF}; 0 for a full mask"
    ),
    Measure("accuracy", "ACC", r"$\mathrm{ACC}$", True, f"share of pixels on the right side {_HALF}"),
    Measure("ber", "BER", r"$\mathrm{BER}$", False, f"balanced error rate 1 − (SE + SP) / 2 in [0, 1] {_HALF}"),
    Measure(
        "auc",
        "AUC",
        r"$\mathrm{AUC}$",
        True,
        "area under the ROC curve of each image, exact with ties, mean over images; ½ without both classes",
        True,
    ),
    Measure(
        "boundary_iou",
        "Boundary IoU",
        r"$\mathrm{IoU}_b$",
        True,
        f"IoU of the inner rims, 2 % of the diagonal wide (Cheng et al., CVPR 2021), {_HALF}",
        True,
    ),
    Measure(
        "ms_iou",
        "MSIoU",
        r"$\mathrm{MSIoU}$",
        True,
        f"share of the mask's edge cells found, over cells of 1 to 512 pixels (Ahmadzadeh et al., ICIP 2021), {_HALF}",
        True,
    ),
    Measure(
        "hce",
        "HCE",
        r"$\mathrm{HCE}$",
        False,
        f"clicks that a human would need to mend the mask (Qin et al., ECCV 2022; relax 5, epsilon 2), {_HALF}",
        True,
    ),
    Measure(
        "context",
        "C_β",
        r"$C_\beta$",
        True,
        "context measure with β² = 1 and α = 6 on the map, no threshold (Wang et al., arXiv 2512.07076)",
        True,
    ),
    Measure(
        "context_weighted",
        "C_β^ω",
        r"$C_\beta^\omega$",
        True,
        "context measure with β² = 1.2, well camouflaged parts of the object weighing more, from the image"
        " (the same paper)",
        True,
        True,
    ),
)

MEASURES: dict[str, Measure] = {measure.name: measure for measure in _ALL}
"""Every scalar key, in the order of `compute()` and of tables."""

STANDARD: tuple[str, ...] = tuple(measure.name for measure in _ALL if not measure.extra)
"""The keys that are always computed."""

EXTRAS: tuple[str, ...] = tuple(measure.name for measure in _ALL if measure.extra)
"""The keys that `extra` can name."""
