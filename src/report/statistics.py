"""Tests whether two methods differ by more than chance, paired over the images of one data set."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from src.metrics import MEASURES
from src.report.tables.columns import has_rows
from src.report.tables.scores import short_note
from src.report.tables.table import Cell, Head, Table
from src.scoring.scores import SetScores
from src.utils.errors import UserError

RESAMPLES, SEED, CONFIDENCE = 10_000, 0, 0.95
BATCH_VALUES = 2**23


@dataclass(frozen=True)
class Comparison:
    """Comparison of two methods on the images of one data set that both have."""

    dataset: str
    first: str
    second: str
    measure: str
    images: int
    """Number of paired images."""
    difference: float
    """Mean of `first` − `second` over the images."""
    low: float
    """Lower bound of the bootstrap interval of `difference`."""
    high: float
    """Upper bound of that interval."""
    p: float
    """p of Wilcoxon's test."""
    p_holm: float
    """The same after Holm's correction."""

    @property
    def better(self) -> str | None:
        """Return the better method if test and interval agree that there is one, else None."""
        if not (self.p_holm < 1 - CONFIDENCE and self.low * self.high > 0):
            return None
        return self.first if (self.difference > 0) == MEASURES[self.measure].higher_is_better else self.second


def compare_methods(
    results: Sequence[SetScores], measures: Sequence[str], reference: str | None = None, resamples: int = RESAMPLES
) -> list[Comparison]:
    """Compare all pairs of methods on one data set, or `reference` with each other method, on the images of both.

    Interval: percentile bootstrap over images, `resamples` resamples, seed fixed. Test: Wilcoxon's signed-rank,
    two-sided; images without a difference are dropped (p = 1 if all are). Holm's correction covers all comparisons of
    the returned list. Measures that are not means over images (`*_max`) are left out.

    Raises:
        UserError: no image in common, an unknown reference.
    """
    found = [
        comparison
        for pair in _pairs(results, reference)
        for comparison in _compare(*pair, list(filter(has_rows, measures)), resamples)
    ]
    return [replace(one, p_holm=p) for one, p in zip(found, holm([one.p for one in found]), strict=True)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values after Holm's step-down correction.

    The i-th smallest of m values, i from 0, becomes p · (m − i), made monotone and at most 1.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def statistics_table(comparisons: Sequence[Comparison], protocol: str, resamples: int = RESAMPLES) -> Table:
    """Return a table with one row per comparison, all of one data set."""
    header = [Head("comparison", is_number=False), Head("measure", is_number=False), Head("images"), Head("difference")]
    header += [Head(f"{CONFIDENCE:.0%} interval"), Head("p"), Head("p (Holm)"), Head("better", is_number=False)]
    rows = [
        [
            Cell(f"{one.first} − {one.second}"),
            Cell(MEASURES[one.measure].label),
            Cell(str(one.images)),
            Cell(_signed(one.difference)),
            Cell(f"{_signed(one.low)} … {_signed(one.high)}"),
            Cell(_p(one.p)),
            Cell(_p(one.p_holm)),
            Cell(one.better or "–"),
        ]
        for one in comparisons
    ]
    notes = [
        f"Paired over images (maxima of mean curves have no pairs); interval of the mean difference: "
        f"percentile bootstrap, {resamples} resamples, seed {SEED}.",
        f"p: Wilcoxon signed-rank test, two-sided; Holm's correction over the {len(rows)} comparisons of this table.",
        short_note(protocol),
        "Better: named where the corrected p is under 0.05 and the interval excludes 0.",
    ]
    breaks = frozenset(i for i in range(1, len(rows)) if rows[i][0] != rows[i - 1][0])
    return Table(f"{comparisons[0].dataset}: differences", header, rows, notes, breaks)


def _pairs(results: Sequence[SetScores], reference: str | None) -> Iterator[tuple[SetScores, SetScores]]:
    if reference is None:
        yield from combinations(results, 2)
        return
    chosen = [one for one in results if one.label == reference]
    if not chosen:
        raise UserError(
            f"report.reference={reference}: no such method; there are {', '.join(one.label for one in results)}"
        )
    yield from ((chosen[0], other) for other in results if other is not chosen[0])


def _compare(first: SetScores, second: SetScores, measures: Sequence[str], resamples: int) -> Iterator[Comparison]:
    ours, theirs = ({row["image"]: row for row in one.rows} for one in (first, second))
    images = [image for image in ours if image in theirs]
    if not images:
        raise UserError(f"{first.label} and {second.label} have no image of {first.dataset} in common")
    for measure in measures:
        differences = np.array([ours[image][measure] - theirs[image][measure] for image in images], dtype=np.float64)
        differences = differences[~np.isnan(differences)]
        low, high = _interval(differences, resamples)
        p = float(stats.wilcoxon(differences).pvalue) if np.any(differences) else 1.0
        mean = float(differences.mean()) if len(differences) else math.nan
        yield Comparison(first.dataset, first.label, second.label, measure, len(differences), mean, low, high, p, p)


def _interval(differences: NDArray[np.float64], resamples: int) -> tuple[float, float]:
    if len(differences) < 2:  # nothing to resample
        return math.nan, math.nan
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        n_resamples=resamples,
        batch=max(1, BATCH_VALUES // len(differences)),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _signed(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:+.4f}".replace("-", "−")


def _p(value: float) -> str:
    return "< 0.0001" if value < 1e-4 else f"{value:.4f}"
