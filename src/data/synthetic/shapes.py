"""Random smooth shapes for the synthetic set."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

HARMONICS = np.arange(1, 8)


def blob(rng: Generator, height: int, width: int, centre: np.ndarray, radius: float) -> np.ndarray:
    """Return an implicit shape, float32 (H, W): positive inside, zero on the outline, falling outwards.

    The outline in polar coordinates is a random low-frequency Fourier series, elongated along a random axis.

    Args:
        rng: the source of all randomness.
        height: in pixels.
        width: in pixels.
        centre: (y, x) in [0, 1].
        radius: as a fraction of the shorter side.
    """
    side = min(height, width)
    y = (np.arange(height, dtype=np.float32)[:, None] - np.float32(centre[0] * height)) / side
    x = (np.arange(width, dtype=np.float32)[None] - np.float32(centre[1] * width)) / side
    turn, stretch = rng.uniform(0, np.pi), np.sqrt(rng.uniform(1.0, 2.2))
    u = (np.cos(turn) * x + np.sin(turn) * y) / np.float32(stretch)
    v = (np.cos(turn) * y - np.sin(turn) * x) * np.float32(stretch)
    amplitude = rng.normal(0, 0.35, size=HARMONICS.size) / HARMONICS**0.8
    phase = rng.uniform(0, 2 * np.pi, size=HARMONICS.size)
    angles = np.linspace(-np.pi, np.pi, 512)
    # exp keeps the outline's radius positive however the waves add up
    outline = radius * np.exp((amplitude[:, None] * np.cos(HARMONICS[:, None] * angles + phase[:, None])).sum(0))
    sector = ((np.arctan2(v, u) + np.pi) * (511 / (2 * np.pi))).astype(np.int32)
    return outline.astype(np.float32)[sector] - np.hypot(u, v)


def grow_to_area(implicit: np.ndarray, fraction: float) -> np.ndarray:
    """Return the level set of an implicit shape that covers `fraction` of the image, as a bool mask (H, W).

    Specks smaller than a tenth of that area are removed.
    """
    count = max(round(fraction * implicit.size), 1)
    level = np.partition(implicit.ravel(), implicit.size - count)[implicit.size - count]
    mask = implicit >= level
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    speck = stats[:, cv2.CC_STAT_AREA] < 0.1 * count
    return mask & ~speck[labels]
