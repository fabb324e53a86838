"""The table of :mod:`scripts.results.prompts`: every prompt and method, and differences to the best fusion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scripts.results.networks import difference_cells
from scripts.results.paired import paired_differences
from scripts.results.tables import INTERVAL
from src.report.tables.columns import heading, number
from src.report.tables.table import Cell, Head, Table
from src.utils.errors import UserError

HOLDOUT = "the hold-out"
SCORES = ("s_alpha", "f_weighted", "iou")
OWN = "own mask (ignores prompts)"
FUSIONS = (OWN, "prompt alone", "own × prompt", "sum of logits", "sharpened average")
"""Ways to use a prompt that need neither a term in the objective nor a training."""


def prompt_table(rows: pd.DataFrame) -> Table:
    """Return the scores of every prompt and method, means over images and seeds.

    Args:
        rows: one per network, prompt, method and image, as `scripts.results.prompts.measure` returns them.

    Raises:
        UserError: not all networks were measured on the same set and images.
    """
    dataset = _measured_on(rows)
    rows = rows.assign(
        label=rows["method"].where(~_of_prompted_fusion(rows), rows["method"] + ", trained with prompts")
    )
    header = [Head("prompt", is_number=False), Head("method", is_number=False), *map(Head, map(heading, SCORES))]
    header += [Head("clicks to IoU 0.8"), Head("S_α − best fusion")]
    cells, breaks = list[list[Cell]](), set[int]()
    for prompt in rows["prompt"].unique():
        breaks.add(len(cells))
        cells += _prompt_rows(rows, prompt)
    images, seeds = rows["image"].nunique(), rows.groupby("prompted")["seed"].nunique().to_dict()
    told = ", ".join(f"{count} trained with{'' if prompted else 'out'} prompts" for prompted, count in seeds.items())
    notes = [
        f"{images} images of {dataset}; networks: {told}.",
        "Best fusion (bold): the method without the term that has the highest mean S_α on these same images.",
        "Each method gets its own corrective clicks. Clicks to IoU 0.8: 0 if none is needed; 20 stands for 20 or more.",
        INTERVAL,
    ]
    return Table("Prompts", header, cells, notes, frozenset(breaks - {0}))


def _measured_on(rows: pd.DataFrame) -> str:
    """Return the name of the set; measurements of earlier versions are of a hold-out and do not say so."""
    names = rows["dataset"].fillna(HOLDOUT).unique() if "dataset" in rows else [HOLDOUT]
    if len(names) > 1:
        raise UserError(f"the networks were measured on {', '.join(names)}; make one table of each")
    return str(names[0])


def _of_prompted_fusion(rows: pd.DataFrame) -> pd.Series:
    return rows["prompted"] & rows["method"].isin(FUSIONS)


def _prompt_rows(rows: pd.DataFrame, prompt: str) -> Iterator[list[Cell]]:
    """Yield the rows of one prompt, including the mask that ignores it."""
    ignored = rows[(rows["prompt"] == "nothing") & (rows["method"] == OWN)]
    here = rows[rows["prompt"] == prompt]
    if prompt != "nothing":
        here = pd.concat([here, ignored])
    by_label = dict(iter(here.groupby("label", sort=False)))
    fusions = {label: one["s_alpha"].mean() for label, one in by_label.items() if one["method"].iloc[0] in FUSIONS}
    best = max(fusions, key=lambda label: fusions[label])
    for label, one in by_label.items():
        scores = [number(float(one[name].mean()), 3) for name in SCORES]
        clicks = number(float(one["clicks"].mean()), 2)
        difference = Cell("")
        if label not in fusions:
            (difference,) = difference_cells(paired_differences(_values(one), _values(by_label[best])))
        mark = "best" if label == best and len(by_label) > 1 else ""
        yield [Cell(prompt), Cell(label, mark), *map(Cell, scores), Cell(clicks), difference]


def _values(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return S_α as (1, seeds, images), images in the order of their names."""
    by_seed = rows.pivot(index="source", columns="image", values="s_alpha")
    if by_seed.isna().to_numpy().any():
        raise UserError("the networks were measured on different images; measure all on the same hold-out")
    return by_seed.sort_index(axis=1).to_numpy(np.float64)[None]
