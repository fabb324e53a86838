"""Scores made by hand for the tests of reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from src.metrics import CURVES, MEASURES, STANDARD, MapScores
from src.scoring import ImageScores, SetScores


def set_scores(
    dataset: str, method: str, values: Mapping[str, Sequence[float]], images: Sequence[str] | None = None, map_: str = ""
) -> SetScores:
    """One image a value; measures that are not given are 0.5, curves fall from 1 to 0, the share of object pixels rises by 0.1 from 0.1."""
    one = SetScores(dataset, method, map_)
    count = len(next(iter(values.values())))
    for i in range(count):
        scalars = {name: float(values[name][i]) if name in values else 0.5 for name in STANDARD}
        curves = {name: np.linspace(1, 0, 256) for name in CURVES}
        name = images[i] if images is not None else f"image_{i}"
        one.add(ImageScores(name, 0.1 * (i + 1), 1 + i % 3, MapScores(scalars, curves)))
    return one


LOWER_IS_BETTER = [name for name, measure in MEASURES.items() if not measure.higher_is_better]
