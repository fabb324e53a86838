"""Difference between two networks, with a bootstrap interval over images and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.report.statistics import CONFIDENCE, RESAMPLES, SEED


class Difference(NamedTuple):
    """Mean of ours − theirs and its percentile interval."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether both ends of the interval are on the same side of 0."""
        return self.low * self.high > 0


def paired_differences(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], resamples: int = RESAMPLES
) -> list[Difference]:
    """Return the difference between the two networks' means of each measure, with its 95 % interval.

    Each resample draws images with replacement, the same for both networks (they are paired by image), and each
    network's seeds with replacement (their trainings are not paired). A network with one seed contributes no variation
    between seeds: the interval then covers new images but not new trainings. All measures share the same resamples.

    Args:
        ours: scores (measures, seeds, images).
        theirs: the same measures and images, in the same order.
        resamples: number of resamples.
    """
    if ours.shape[2] != theirs.shape[2]:
        raise ValueError(f"{ours.shape[2]} and {theirs.shape[2]} images cannot be paired")
    draws, state = _image_draws(ours.shape[2], resamples)
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    found = _resampled(rng, ours, draws) - _resampled(rng, theirs, draws)
    low, high = np.percentile(found, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)], axis=0)
    means = [float(one.mean() - other.mean()) for one, other in zip(ours, theirs, strict=True)]
    return [*map(Difference, means, low.tolist(), high.tolist())]


@lru_cache(maxsize=4)
def _image_draws(images: int, resamples: int) -> tuple[NDArray[np.float64], Mapping[str, Any]]:
    """Return the share of each image in each resample, (resamples, images), and the generator's state afterwards.

    They are the same for every pair of networks.
    """
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64) / images
    return draws, rng.bit_generator.state


def _resampled(
    rng: np.random.Generator, values: NDArray[np.float64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the means over the drawn images and seeds, (resamples, measures)."""
    measures, seeds, images = values.shape
    chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), len(draws)) / seeds
    means = (draws @ values.reshape(-1, images).T).reshape(-1, measures, seeds)
    return (means * chosen[:, None]).sum(2)
