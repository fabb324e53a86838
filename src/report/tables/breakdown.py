"""Scores by object size, by number of objects, and by COD10K's super- and sub-classes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from src.metrics import MEASURES
from src.report.tables.columns import has_rows, heading, latex_heading, number
from src.report.tables.scores import short_note
from src.report.tables.table import Cell, Head, Table
from src.scoring.scores import SPECK, SetScores

SIZES = ((0.0, "no object"), (0.01, "under 1 %"), (0.05, "1 to 5 %"), (0.2, "5 to 20 %"), (1.0, "over 20 %"))
"""Upper bound (inclusive) of the share of object pixels → name; our choice, as the field has no common one."""
COUNTS = ("none", "1", "2", "3 or more")
BY_SIZE, BY_COUNT, BY_SUPER, BY_SUB = "object size", "number of objects", "super-class", "sub-class"
RULES = {
    BY_SIZE: "Share of the image's pixels that belong to objects.",
    BY_COUNT: f"8-connected parts of the mask with at least {SPECK:.0%} of its object pixels.",
    BY_SUPER: "From COD10K's file names.",
    BY_SUB: "From COD10K's file names.",
}

_COD10K = re.compile(r"COD10K-(?:CAM|NonCAM)-(\d+)-([^-]+)-(\d+)-(.+)-\d+")


@dataclass(frozen=True)
class Group:
    """The images of one group: their number, and the means by method and measure."""

    dataset: str
    by: str
    name: str
    images: int
    means: dict[str, dict[str, float]]


def cod10k_class(image: str) -> tuple[str, str] | None:
    """Return ("Aquatic", "BatFish") for `COD10K-CAM-1-Aquatic-1-BatFish-2`; None for names of other forms."""
    match = _COD10K.fullmatch(image)
    return (match[2], match[4]) if match else None


def break_down(results: Sequence[SetScores]) -> list[Group]:
    """Return the groups of one data set, in a fixed order.

    A kind with a single group is left out, as it would repeat the main table.
    """
    keys = {row["image"]: dict(_keys(row)) for row in results[0].rows}
    groups = []
    for by in RULES:
        names = sorted({key[by] for key in keys.values() if by in key})
        for place, name in names if len(names) > 1 else []:
            members = {image for image, key in keys.items() if key.get(by) == (place, name)}
            means = {one.label: _means(one, members) for one in results}
            groups.append(Group(results[0].dataset, by, name, len(members), means))
    return groups


def breakdown_tables(groups: Sequence[Group], columns: Sequence[str], protocol: str, digits: int) -> list[Table]:
    """Return one table per kind of group: all columns of a single method, or the first column for several methods.

    Columns that are not means over images (`*_max`) are left out; without other columns there is no table.
    """
    columns = [name for name in columns if has_rows(name)]
    tables = []
    for by in dict.fromkeys(group.by for group in groups if columns):
        chosen = [group for group in groups if group.by == by]
        methods = list(chosen[0].means)
        cells = (
            [(methods[0], name) for name in columns]
            if len(methods) == 1
            else [(method, columns[0]) for method in methods]
        )
        heads = [
            Head(heading(name), latex_heading(name)) if len(methods) == 1 else Head(method) for method, name in cells
        ]
        rows = [
            [
                Cell(group.name),
                Cell(str(group.images)),
                *(Cell(number(group.means[method][name], digits)) for method, name in cells),
            ]
            for group in chosen
        ]
        measure = "" if len(methods) == 1 else f", {MEASURES[columns[0]].label}"
        notes = [RULES[by], f"Means over images, {digits} decimals.", short_note(protocol)]
        tables.append(
            Table(
                f"{chosen[0].dataset} by {by}{measure}",
                [Head(by, is_number=False), Head("images"), *heads],
                rows,
                notes,
            )
        )
    return tables


def breakdown_rows(groups: Sequence[Group]) -> list[dict[str, Any]]:
    """Return the rows of a CSV: one per group and method, with every measure that is a mean over images."""
    return [
        {
            "dataset": group.dataset,
            "by": group.by,
            "group": group.name,
            "images": group.images,
            "method": method,
            **means,
        }
        for group in groups
        for method, means in group.means.items()
    ]


def _keys(row: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, str]]]:
    """Yield, for one image, each kind with (position in the kind's order, group)."""
    place = next(i for i, (bound, _) in enumerate(SIZES) if row["object_share"] <= bound)
    yield BY_SIZE, (place, SIZES[place][1])
    count = min(int(row["objects"]), len(COUNTS) - 1)
    yield BY_COUNT, (count, COUNTS[count])
    classes = cod10k_class(row["image"])
    if classes is not None:
        yield BY_SUPER, (0, classes[0])
        yield BY_SUB, (0, f"{classes[0]}: {classes[1]}")


def _means(one: SetScores, members: set[str]) -> dict[str, float]:
    rows = [row for row in one.rows if row["image"] in members]
    return {name: float(np.mean([row[name] for row in rows])) for name in one.measures if has_rows(name)}
