"""Is one network better than another, over new images and new trainings? A bootstrap over images and seeds together."""

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
        return self.low * self.high > 0


def paired_difference(ours: NDArray[np.float64], theirs: NDArray[np.float64], resamples: int = RESAMPLES) -> Difference:
    """Difference of the grand means, with its 95 % interval.

    Each resample draws images with replacement, the same for both networks (they are paired by image), and each network's seeds with
    replacement (their trainings are not paired). A network with one seed contributes no spread of seeds: then the interval speaks of new
    images only.

    Args:
        ours, theirs: one value a seed and image, (seeds, images); the images in the same order.
    """
    if ours.shape[1] != theirs.shape[1]:
        raise ValueError(f"{ours.shape[1]} and {theirs.shape[1]} images cannot be paired")
    draws, state = _image_draws(ours.shape[1], resamples)
    rng = np.random.default_rng()
    rng.bit_generator.state = state
    found = _resampled(rng, ours, draws) - _resampled(rng, theirs, draws)
    low, high = np.percentile(found, [50 * (1 - CONFIDENCE), 50 * (1 + CONFIDENCE)])
    return Difference(float(ours.mean() - theirs.mean()), float(low), float(high))


@lru_cache(maxsize=4)
def _image_draws(images: int, resamples: int) -> tuple[NDArray[np.float64], Mapping[str, Any]]:
    """The share of each image in each resample, (resamples, images), and the generator's state behind them; the same for every pair."""
    rng = np.random.default_rng(SEED)
    draws = rng.multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64) / images
    return draws, rng.bit_generator.state


def _resampled(rng: np.random.Generator, values: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over drawn images and drawn seeds, (resamples,)."""
    seeds = len(values)
    chosen = rng.multinomial(seeds, np.full(seeds, 1 / seeds), len(draws)) / seeds
    return ((draws @ values.T) * chosen).sum(1)
