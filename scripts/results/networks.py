"""The networks that the pages in docs/results compare: their seeds, their differences, and the cells of tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scripts.results.archive import EVALUATION, TASKS, Results, Variant
from scripts.results.paired import Difference, paired_differences
from src.metrics import MEASURES
from src.report.tables.columns import heading, number, ranks
from src.report.tables.table import Cell, Head

OURS = "run"
CONTROL = "fpn_ds"
"""The no-unfolding control: RUN's encoder, levels, heads and losses, without the unfolding."""
WITHOUT_CLOSING = OURS + Variant(closing_step="false").suffix
"""RUN evaluated at M_K, without its closing step."""
BEST = "_best"
"""Part of the names of the networks that were trained by the recipe `conf/recipe/best.yaml`."""
SHOWN = ("s_alpha", "e_mean", "f_weighted", "mae")
DIGITS = 4


def recipes(results: Results) -> tuple[Results, Results]:
    """Return the results of all other trainings, and those by the recipe `best` under their networks' plain names."""

    def part(is_best: bool) -> Results:
        chosen = (frame[frame["network"].str.contains(BEST, regex=False) == is_best] for frame in results)
        return Results(*(one.assign(network=one["network"].str.replace(BEST, "", regex=False)) for one in chosen))

    return part(False), part(True)


@dataclass(frozen=True)
class Network:
    """All seeds of one network, evaluated in one way on one split at one size.

    `rows`: its rows of `Results.images`, by seed and image.
    """

    dataset: str
    size: int
    name: str
    variant: Variant
    rows: pd.DataFrame

    @property
    def label(self) -> str:
        """Return the training's name and how it was evaluated, such as `run-closing_step_x1.5`."""
        return self.name + self.variant.suffix

    @property
    def is_ours(self) -> bool:
        """Whether it is RUN or one of its variants."""
        return self.name.startswith(OURS)

    @property
    def cells(self) -> list[Cell]:
        """Return two cells: label and number of seeds."""
        return [Cell(f"`{self.label}`"), Cell(str(self.seeds))]

    @property
    def unscaled_cells(self) -> list[Cell]:
        """Return two cells: label without the factor of the logits, and the factor."""
        return [Cell(f"`{self.name}{self.variant._replace(sharpness=1).suffix}`"), Cell(f"{self.variant.sharpness:g}")]

    @property
    def seeds(self) -> int:
        """Return the number of trainings."""
        return self.rows["seed"].nunique()

    def values(self, measures: Sequence[str]) -> NDArray[np.float64]:
        """Return the scores as an array (measures, seeds, images)."""
        return self.rows[[*measures]].to_numpy().T.reshape(len(measures), self.seeds, -1)

    def means(self, measure: str) -> list[float]:
        """Return the mean over the images, one value per seed."""
        return self.values([measure])[0].mean(1).tolist()


Networks = dict[str, Network]
"""Label → network."""


def networks(
    results: Results, split: str, tasks: bool = False, scaled: bool = False
) -> dict[tuple[str, int], Networks]:
    """Return the networks that were evaluated on a split in one round, by data set and size.

    Args:
        results: the stored results.
        split: ``holdout`` or ``test``.
        tasks: return those on the data sets of other tasks instead.
        scaled: include those whose logits were multiplied.
    """
    images = results.images
    chosen = (images["split"] == split) & (images["rounds"] == 1) & (images["dataset"].isin(TASKS) == tasks)
    return grouped(images[chosen & (scaled | (images["sharpness"] == 1))])


def grouped(images: pd.DataFrame) -> dict[tuple[str, int], Networks]:
    """Return (data set, size) → label → network, `run` first, then by label; all rows must be of the same split."""
    every = [
        Network(dataset, size, name, Variant(*variant), rows)
        for (dataset, _, size, name, *variant), rows in images.sort_values(["seed", "image"]).groupby(
            [column for column in EVALUATION if column != "seed"]
        )
    ]
    found: dict[tuple[str, int], Networks] = {}
    for one in sorted(every, key=lambda one: (one.dataset, one.size, one.label != OURS, one.label)):
        found.setdefault((one.dataset, one.size), {})[one.label] = one
    return found


def heads(first: str, *rest: str) -> list[Head]:
    """Return the headings of a column of names and of columns of numbers; measures are shown by their symbols."""
    return [Head(first, is_number=False), *(Head(heading(name) if name in MEASURES else name) for name in rest)]


def differences(first: Network, second: Network, measures: Sequence[str] = SHOWN) -> list[Difference]:
    """Return the means of the first network minus those of the second, with intervals, one per measure."""
    return paired_differences(first.values(measures), second.values(measures))


def difference_row(first: Network, second: Network, measures: Sequence[str] = SHOWN, ending: str = "") -> list[Cell]:
    """Return a row: both labels, both numbers of seeds, and the differences; ``ending`` follows the labels."""
    names = [Cell(f"`{first.label}` − `{second.label}`{ending}"), Cell(f"{first.seeds} / {second.seeds}")]
    return [*names, *difference_cells(differences(first, second, measures))]


def difference_cells(found: Sequence[Difference]) -> list[Cell]:
    """Return differences as +0.0012 [−0.0034, +0.0056], in bold if the interval excludes 0."""
    return [
        Cell(f"{signed(one.mean)} [{signed(one.low)}, {signed(one.high)}]", "best" if one.excludes_zero else "")
        for one in found
    ]


def score_row(network: Network, measures: Sequence[str] = SHOWN) -> list[Cell]:
    """Return a row: label, number of seeds and scores."""
    return [*network.cells, *(Cell(spread(network.means(name))) for name in measures)]


def ranked_scores(models: Networks, measures: Sequence[str]) -> dict[str, list[Cell]]:
    """Return label → scores, with the best and second best of each measure marked."""
    cells: dict[str, list[Cell]] = {label: [] for label in models}
    for name in measures:
        found = {label: one.means(name) for label, one in models.items()}
        marks = ranks([mean(values) for values in found.values()], MEASURES[name].higher_is_better, DIGITS)
        for (label, values), mark in zip(found.items(), marks, strict=True):
            cells[label].append(Cell(spread(values), mark))
    return cells


def spread(values: Sequence[float]) -> str:
    """Return mean ± standard deviation; of a single value only the value."""
    if not len(values):
        return "–"
    return number(mean(values), DIGITS) + (f" ± {stdev(values):.{DIGITS}f}" if len(values) > 1 else "")


def cost(results: Results, network: Network) -> list[Cell]:
    """Return two cells: parameters (M) and GMACs."""
    runs = results.runs
    own = (runs["dataset"] == network.dataset) & (runs["size"] == network.size) & (runs["network"] == network.name)
    if not own.any():
        return [Cell("–"), Cell("–")]
    one = runs[own].astype({"parameters": float}).iloc[0]
    return [Cell(number(one["parameters"] / 1e6, 2)), Cell(number(one["gmacs"], 2))]


def images(models: Networks) -> str:
    """Return the data set and its number of compared images, which is the same for all networks."""
    one = next(iter(models.values()))
    count = one.rows["image"].nunique()
    return f"{one.dataset}: {count} image{'s' * (count != 1)}"


def commits(models: Networks) -> str:
    """Return a note on the commits of the trainings."""
    told = "; ".join(f"{label} {', '.join(one.rows['commit'].unique())}" for label, one in models.items())
    return f"Commits: {told}." + " A + after a commit marks uncommitted changes." * ("+" in told)


def signed(value: float) -> str:
    """Return +0.0012 or −0.0012; – for a missing number."""
    return "–" if math.isnan(value) else f"{value:+.{DIGITS}f}".replace("-", "−")
