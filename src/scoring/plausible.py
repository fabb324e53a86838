"""Notice maps and masks that are not what they seem: inverted, turned, or in another range of values."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from src.data.maps import StoredMap
from src.data.masks import MaskFacts
from src.data.verify.findings import errors
from src.data.verify.masks import ORDINARY, judge_mask, judge_set, reading, summaries

SIDE = 24
"""Maps and masks are compared at this size."""
TURNS = (
    "as they are",
    "turned by 90°",
    "turned by 180°",
    "turned by 270°",
    "mirrored",
    "mirrored and turned by 90°",
    "upside down",
    "mirrored and turned by 270°",
)
"""The ways in which a map may be stored, in the order of `_turned`."""
MARGINS = ((10, 0.2), (3, 0.3), (1, 0.5))
"""With at least this number of maps, this gain of correlation shows that they are turned."""
INVERTED = -0.3
"""A mean correlation below this shows that maps are inverted."""


class MapFacts(NamedTuple):
    """What a map looks like compared with its mask.

    Attributes:
        highest: the largest stored value.
        full: the stored value that means 1.
        fits: correlation with the mask, for each of `TURNS`; NaN if either is constant.
    """

    highest: float
    full: float
    fits: np.ndarray


def map_facts(stored: StoredMap, target: np.ndarray) -> MapFacts:
    """Return the facts on a map (h, w) and its mask, bool (H, W)."""
    small = _small(stored.values.astype(np.float32))
    truth = _small(target.astype(np.float32))
    return MapFacts(
        float(stored.values.max()) * stored.full,
        stored.full,
        np.array([_correlation(one, truth) for one in _turned(small)]),
    )


def _small(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _turned(values: np.ndarray) -> list[np.ndarray]:
    """Return the map turned back from each of the ways of `TURNS`."""
    mirrored = values[:, ::-1]
    return [np.rot90(values, -k) for k in range(4)] + [np.rot90(mirrored, -k) for k in range(4)]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    length = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / length if length > 1e-6 else float("nan")


def map_warnings(method: str, dataset: str, maps: Sequence[MapFacts], protocol: str) -> list[str]:
    """Return what looks wrong with the maps of a method on a data set, one line each.

    Args:
        method: its name.
        dataset: its name.
        maps: the facts on each map.
        protocol: the protocol by which they are scored; `raw` takes values as they are.
    """
    name, highest, full = f"{method} on {dataset}", max(one.highest for one in maps), min(one.full for one in maps)
    found = []
    if highest == 0:
        found.append(f"{name}: every map is 0 everywhere")
    elif full > 255 and highest <= 255:
        found.append(
            f"{name}: maps in {int(full).bit_length()} bits, but with values up to {highest:g}; "
            "8-bit values? save them in 8 bits"
        )
    elif full == 255 and highest == 1 and protocol == "raw":
        found.append(f"{name}: maps with the values 0 and 1 of 255; masks of 0/1? multiply them by 255")
    elif full == 255 and highest <= 100 and protocol == "raw":
        found.append(
            f"{name}: maps with values up to {highest:g} of 255, and protocol raw takes them as they are; "
            "per cent? stretch them to 255"
        )
    known = np.array([one.fits for one in maps if not np.isnan(one.fits).any()])
    if len(known):
        found += [f"{name}: {line}" for line in _turn_warnings(known)]
    return found


def _turn_warnings(fits: np.ndarray) -> list[str]:
    mean = fits.mean(0)
    best, margin = int(mean.argmax()), next(gain for count, gain in MARGINS if len(fits) >= count)
    if mean[0] < INVERTED:
        return [f"the maps look inverted (correlation with the masks {mean[0]:.2f}); the object must be bright"]
    if best and mean[best] > max(INVERTED + 0.6, mean[0] + margin):
        return [
            f"the maps look {TURNS[best]}: turned back they fit the masks far better "
            f"(correlation {mean[best]:.2f}, not {mean[0]:.2f})"
        ]
    return []


def mask_problems(path: Path, facts: MaskFacts) -> list[str]:
    """Return what makes a mask useless."""
    return errors(list(judge_mask(path, facts)))


def mask_notes(
    dataset: str, folder: Path, masks: Sequence[tuple[Path, MaskFacts]], problems: list[str]
) -> tuple[str, tuple[str, ...]]:
    """Return how the masks of a set are read, and warnings about them.

    Args:
        dataset: the set's name.
        folder: of the masks.
        masks: their files and facts.
        problems: errors that make masks unusable are appended.
    """
    findings = [*judge_set(folder, masks), *(one for path, facts in masks for one in judge_mask(path, facts))]
    problems += [line for line in errors(findings) if line not in problems]
    remarkable = [one for one in findings if one.kind not in ORDINARY]
    return f"Masks of {dataset}: {reading(facts for _, facts in masks)}", summaries(dataset, len(masks), remarkable)
