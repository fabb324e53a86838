"""Compiled loops of the `field` protocol: rounding, the object's profile, the histograms.

All arrays are C-contiguous. Import this module inside functions only: loading Numba takes time.
"""

from __future__ import annotations

import numpy as np

from src.utils.jit import compiled


@compiled(fastmath={"reassoc", "contract", "nsz"})
def round_to_levels(pred, levels):  # type: ignore[no-untyped-def]
    """Set `levels` (n,) uint8 to round(255 · `pred`), ties to even, computed in float64."""
    for i in range(pred.size):
        levels[i] = np.uint8(np.rint(np.float64(pred[i]) * 255.0))


@compiled(fastmath={"reassoc", "contract", "nsz"})
def profile(target, rows, columns):  # type: ignore[no-untyped-def]
    """Count the object's pixels in each row and column of `target` (H, W) uint8, in `rows` and `columns` (int32)."""
    for y in range(target.shape[0]):
        total = np.int32(0)
        for x in range(target.shape[1]):
            total += np.int32(target[y, x])
            columns[x] += np.int32(target[y, x])
        rows[y] = total


@compiled(fastmath={"reassoc", "contract", "nsz"})
def count_levels(levels, target, bottom, right, counts):  # type: ignore[no-untyped-def]
    """Add to `counts` (4, 2, 256) int64 the pixels by quadrant, mask and grey value.

    The quadrants are top left, top right, bottom left, bottom right, cut at row `bottom` and column `right`.
    """
    height, width = levels.shape
    # Neighbours mostly share a grey value: alternating between two tables avoids waiting for the same counter.
    tables = np.zeros((4, 2, 512), np.int32)
    for y in range(height):
        half = 2 if y >= bottom else 0
        for side in range(2):
            start = right if side else 0
            stop = width if side else right
            even, odd = tables[half + side, 0], tables[half + side, 1]
            for x in range(start, stop - 1, 2):
                even[(np.intp(target[y, x]) << 8) + levels[y, x]] += 1
                odd[(np.intp(target[y, x + 1]) << 8) + levels[y, x + 1]] += 1
            if (stop - start) % 2:
                even[(np.intp(target[y, stop - 1]) << 8) + levels[y, stop - 1]] += 1
    for quadrant in range(4):
        for i in range(512):
            counts[quadrant, i >> 8, i & 255] += tables[quadrant, 0, i] + tables[quadrant, 1, i]
