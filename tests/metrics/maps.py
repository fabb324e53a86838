"""Maps to score: smooth and realistic ones, and every edge case that the measures treat on its own."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter


def smooth_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A blob as mask, and a soft map that misses parts of it and finds some elsewhere."""
    rng = np.random.default_rng(seed)
    blob = gaussian_filter(rng.normal(size=(height, width)), min(height, width) / 8)
    target = blob > np.quantile(blob, 0.8)
    wrong = gaussian_filter(rng.normal(size=(height, width)), min(height, width) / 16)
    logit = (blob - np.quantile(blob, 0.8)) / blob.std() + 0.7 * wrong / wrong.std()
    return 1 / (1 + np.exp(-6 * logit)), target


def eight_bit_pair(height: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The same as a saved map: multiples of 1/255."""
    pred, target = smooth_pair(height, width, seed)
    return np.round(pred * 255) / 255, target


def edge_cases() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name → (pred, target)."""
    pred, target = smooth_pair(31, 47, seed=7)
    empty, full = np.zeros_like(target), np.ones_like(target)
    pixel, centre_hit = empty.copy(), np.zeros(target.shape)
    pixel[13, 20] = True
    centre_hit[13, 20] = 0.9
    corner, border, two = empty.copy(), empty.copy(), empty.copy()
    corner[0, 0] = True
    border[:9, :12] = True
    two[3:6, 4:9] = two[20:28, 30:46] = True
    hole = full.copy()
    hole[13, 20] = False
    plateau = np.where(target, 0.7, 0.3)
    halves = np.full(target.shape, 0.5)
    halves[:, ::2] = 128 / 255
    cases = {
        "empty mask": (pred, empty),
        "full mask": (pred, full),
        "empty mask, empty prediction": (empty.astype(float), empty),
        "full mask, full prediction": (full.astype(float), full),
        "empty mask, full prediction": (full.astype(float), empty),
        "full mask, empty prediction": (empty.astype(float), full),
        "empty prediction": (empty.astype(float), target),
        "full prediction": (full.astype(float), target),
        "perfect": (target.astype(float), target),
        "inverted": ((~target).astype(float), target),
        "one-pixel object": (pred, pixel),
        "one-pixel object, found": (centre_hit, pixel),
        "one-pixel object in the corner": (pred, corner),
        "all but one pixel": (pred, hole),
        "object at the border": (pred, border),
        "two objects": (pred, two),
        "two levels": (plateau, target),
        "around one half": (halves, target),
        "one pixel, object": (np.array([[0.6]]), np.array([[True]])),
        "one pixel, background": (np.array([[0.6]]), np.array([[False]])),
        "column": (pred[:, :1], np.arange(31)[:, None] % 5 == 1),
        "row": (pred[:1], np.arange(47)[None] % 7 < 3),
        "tall": smooth_pair(90, 11, seed=8),
        "wide": smooth_pair(11, 90, seed=9),
    }
    # The last bit of a constant map's mean decides its S; hence several values.
    for value in (1 / 255, 0.1, 0.25, 0.3, 1 / 3, 0.5, 0.7, 254 / 255):
        cases[f"constant {value:.4f}"] = (np.full(target.shape, value), border)
        cases[f"constant {value:.4f}, one pixel"] = (np.full(target.shape, value), pixel)
        cases[f"constant {value:.4f}, empty mask"] = (np.full(target.shape, value), empty)
    return cases
