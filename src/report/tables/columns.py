"""Which measures a table prints, and the numbers in its cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from src.metrics import MEASURES
from src.utils.errors import UserError

PRESETS = {
    "cod": ("s_alpha", "e_mean", "f_weighted", "f_adp", "mae"),
    "polyp": ("dice_mean", "iou_mean", "f_weighted", "s_alpha", "e_max", "mae"),
    "vessel": ("dice", "iou", "sensitivity", "specificity", "accuracy"),
}
"""The columns of each task's literature: camouflaged objects (S_α first), polyps (Dice and IoU first), vessels."""

_TASKS = {
    "polyp": {"kvasir", "kvasir-seg", "cvc-clinicdb", "cvc-colondb", "cvc-300", "etis", "etis-laribpolypdb"},
    "vessel": {"drive", "stare", "chase_db1", "chasedb1"},
}


def choose_columns(wanted: str | Sequence[str] | None, available: Iterable[str], datasets: Iterable[str]) -> list[str]:
    """Return the measures to print.

    Args:
        wanted: measures, the name of a preset, or None for the preset of the data sets' task (`cod` unless all of them
            are of another task).
        available: the measures that were computed.
        datasets: names of the data sets.

    Raises:
        UserError: measures that were not computed; the message lists those that were.
    """
    if wanted is None:
        names = {dataset.lower() for dataset in datasets}
        wanted = next((task for task, known in _TASKS.items() if names and names <= known), "cod")
    if isinstance(wanted, str):
        wanted = PRESETS.get(wanted, (wanted,))
    available = list(available)
    unknown = [name for name in wanted if name not in available]
    if unknown or not wanted:
        found = f"{', '.join(available)}; or one of the lists {', '.join(PRESETS)}"
        raise UserError(f"report.columns: {', '.join(unknown) or 'nothing'} cannot be printed; choose from {found}")
    return list(dict.fromkeys(wanted))


def heading(name: str) -> str:
    """Return a measure's label and its better direction, such as `S_α ↑`."""
    return f"{MEASURES[name].label} {MEASURES[name].arrow}"


def latex_heading(name: str) -> str:
    r"""Return a measure's heading for LaTeX, such as `$S_\alpha\uparrow$`."""
    arrow = r"\uparrow" if MEASURES[name].higher_is_better else r"\downarrow"
    latex = MEASURES[name].latex
    return f"{latex[:-1]}{arrow}$" if latex.endswith("$") else f"{latex}${arrow}$"


def number(value: float | None, digits: int) -> str:
    """Return a number with fixed decimals; a dash for None or NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def has_rows(name: str) -> bool:
    """Return whether a set's value is the mean over its images (unlike `*_max`, the maximum of the mean curve)."""
    return not name.endswith("_max")


def ranks(values: Sequence[float | None], higher_is_better: bool, digits: int) -> list[str]:
    """Return `best`, `second` or "" for each value, ranked as printed.

    Values that are printed alike share a mark; `second` is the next printed value after the best. A single number is
    not ranked.
    """
    printed = [None if value is None or math.isnan(value) else round(value, digits) for value in values]
    order = sorted({value for value in printed if value is not None}, reverse=higher_is_better)
    if sum(value is not None for value in printed) < 2:
        return ["" for _ in values]
    marks = dict(zip(order, ("best", "second"), strict=False))
    return ["" if value is None else marks.get(value, "") for value in printed]
