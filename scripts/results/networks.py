"""What the tables of docs/results.md are made of: the seeds of a network, what they differ by, and how that is printed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np
from numpy.typing import NDArray

from scripts.results.archive import SHARPER, TASKS, TWO_ROUNDS, Results, Stored, Training, training_of
from scripts.results.paired import Difference, paired_difference
from src.metrics import MEASURES
from src.report.statistics import RESAMPLES, SEED
from src.report.tables.columns import heading, number, ranks
from src.report.tables.table import Cell, Head

OURS, TWIN = "run", "fpn_ds"
SHOWN = ("s_alpha", "e_mean", "f_weighted", "mae")
DIGITS = 4
INTERVAL = (
    f"Interval: 95 %, percentile bootstrap over images (the same for both networks) and over each network's seeds, {RESAMPLES} resamples, "
    f"seed {SEED}. With one seed it speaks of new images, not of new trainings; with three it is still somewhat too narrow. "
    "In bold where it leaves out 0."
)


@dataclass(frozen=True)
class Network:
    """All seeds of one model on one split at one size."""

    dataset: str
    split: str
    size: int
    model: str
    seeds: tuple[Stored, ...]

    def values(self, measure: str) -> NDArray[np.float64]:
        """(seeds, images)."""
        return np.stack([one.values(measure) for one in self.seeds])

    def means(self, measure: str) -> list[float]:
        """One value a seed."""
        return [one.mean(measure) for one in self.seeds]


def networks(results: Results, split: str) -> dict[tuple[str, int], dict[str, Network]]:
    """(data set, size) → model → its seeds; `run` first, then by name. Neither other tasks, several rounds nor sharper logits."""
    runs = [one for one in results.runs if one.key.split == split and one.key.dataset not in TASKS]
    return grouped([one for one in runs if not one.key.model.endswith(TWO_ROUNDS) and not SHARPER.search(one.key.model)])


def grouped(runs: Sequence[Stored]) -> dict[tuple[str, int], dict[str, Network]]:
    """(data set, size) → model → its seeds, of runs of one split."""
    keys = sorted({(one.key.dataset, one.key.size, one.key.model != OURS, one.key.model, one.key.split) for one in runs})
    found: dict[tuple[str, int], dict[str, Network]] = {}
    for dataset, size, _, model, split in keys:
        seeds = [one for one in runs if one.key[:4] == (dataset, split, size, model)]
        found.setdefault((dataset, size), {})[model] = Network(dataset, split, size, model, tuple(seeds))
    return found


def differences(ours: Network, theirs: Network, measures: Sequence[str] = SHOWN) -> dict[str, Difference]:
    """Measure → the mean of the first network minus that of the second, with its interval (`INTERVAL`)."""
    return {name: paired_difference(ours.values(name), theirs.values(name)) for name in measures}


def difference_header(measures: Sequence[str]) -> list[Head]:
    return [Head("networks", is_number=False), Head("seeds"), *(Head(heading(name)) for name in measures)]


def difference_row(title: str, first: Network, second: Network, measures: Sequence[str] = SHOWN) -> list[Cell]:
    seeds = f"{len(first.seeds)} / {len(second.seeds)}"
    return [Cell(title), Cell(seeds), *difference_cells(differences(first, second, measures))]


def difference_cells(found: dict[str, Difference]) -> list[Cell]:
    """As +0.0012 [−0.0034, +0.0056], in bold where the interval leaves out 0."""
    texts = [f"{signed(one.mean)} [{signed(one.low)}, {signed(one.high)}]" for one in found.values()]
    marks = ["best" if one.excludes_zero else "" for one in found.values()]
    return [*map(Cell, texts, marks)]


def best_on_holdout(results: Results, dataset: str, size: int, rivals: Sequence[str]) -> str | None:
    """The rival with the highest mean S_α on the hold-out; None: none was scored there."""
    found = networks(results, "holdout").get((dataset, size), {})
    scored = {model: mean(found[model].means("s_alpha")) for model in rivals if model in found}
    return max(scored, key=lambda model: scored[model], default=None)


def marked(values: Sequence[Sequence[float]], measure: str) -> list[Cell]:
    """One cell a network from its seeds' values, the best and the second marked."""
    marks = ranks([mean(one) for one in values], MEASURES[measure].higher_is_better, DIGITS)
    return [Cell(spread(one), mark) for one, mark in zip(values, marks, strict=True)]


def spread(values: Sequence[float]) -> str:
    """Mean ± standard deviation; a single value has none."""
    if not values:
        return "–"
    return number(mean(values), DIGITS) + (f" ± {stdev(values):.{DIGITS}f}" if len(values) > 1 else "")


def cost(trainings: Sequence[Training], network: Network) -> tuple[str, str]:
    """Parameters (M) and GMACs."""
    for one in trainings:
        if (one.dataset, one.size, one.model) == (network.dataset, network.size, training_of(network.model)):
            return number(one.parameters / 1e6, 2), number(one.gmacs, 2)
    return "–", "–"


def images(models: dict[str, Network]) -> str:
    """How many images are compared, the same for all."""
    one = next(iter(models.values()))
    count = len(one.seeds[0].images)
    return f"{one.dataset}: {count} image{'s' * (count != 1)}"


def commits(found: Sequence[Network]) -> str:
    """A note: of which commits the trainings are."""
    told = "; ".join(f"{one.model} {', '.join(dict.fromkeys(seed.commit for seed in one.seeds))}" for one in found)
    return f"Commits: {told}." + " +: with changes that were not committed." * ("+" in told)


def signed(value: float) -> str:
    """+0.0012 or −0.0012; – for a number that is not there."""
    return "–" if math.isnan(value) else f"{value:+.{DIGITS}f}".replace("-", "−")
