"""Bring a network's logits to a picture's size as 8-bit levels: one pass, no float map of the picture's size.

A map of 20 megapixels costs 80 MB in float32 and most of a second in separate steps (interpolate, sigmoid, round). Here
each row is interpolated, and its logits are looked up in a table of levels.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from src.utils.jit import compiled

LIMIT = 8
"""Logits beyond ±8 have the level 0 or 255."""
STEPS = 4096
"""Table entries per unit of a logit.

A level is off by at most 1/128 before rounding, so that few pixels in a thousand are rounded differently.
"""


def enlarged_levels(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate logits bilinearly, then return round(255 · σ).

    Corners are not aligned, as in `torch.nn.functional.interpolate`.

    Args:
        logits: float32 (h, w).
        height: rows of the result.
        width: columns of the result.

    Returns:
        uint8 (height, width), at most one level from the same steps computed one by one in float32.
    """
    left, right, weight = _neighbours(logits.shape[1], width)
    rows = logits[:, left] * (1 - weight) + logits[:, right] * weight
    levels = np.empty((height, width), np.uint8)
    _enlarge(rows, *_neighbours(logits.shape[0], height), _table(), levels)
    return levels


def _neighbours(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each new sample the two old ones beside its centre and the weight of the second, in float32."""
    scale = np.float32(old) / np.float32(new)
    centres = np.maximum((np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5), np.float32(0))
    first = np.minimum(centres.astype(np.int64), old - 1)
    return first, np.minimum(first + 1, old - 1), centres - first.astype(np.float32)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """Return the levels of the logits −`LIMIT` … `LIMIT`, `STEPS` per unit."""
    logits = np.arange(-LIMIT * STEPS, LIMIT * STEPS + 1) / STEPS
    return np.rint(255 / (1 + np.exp(-logits))).astype(np.uint8)


@compiled()
def _enlarge(rows, upper, lower, weight, table, levels):  # type: ignore[no-untyped-def]
    height, width = levels.shape
    limit, steps = np.float32(LIMIT), np.float32(STEPS)
    offset = np.float32(LIMIT * STEPS + 0.5)
    entry = np.empty(width, np.int32)
    for i in range(height):
        above, below = rows[upper[i]], rows[lower[i]]
        down = weight[i]
        up = np.float32(1) - down
        for j in range(width):
            logit = min(max(above[j] * up + below[j] * down, -limit), limit)
            entry[j] = np.int32(logit * steps + offset)
        target = levels[i]
        for j in range(width):
            target[j] = table[entry[j]]
