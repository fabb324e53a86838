"""Pillow's antialiased bilinear resize, bit for bit, several times as fast.

Pillow resizes with weights of 22 bits, first along one side, then along the other, rounding in between. The same sums
are formed here over whole rows at once (the width by transposing), which the compiler turns into vector instructions.
The order of the sides affects the last bit and depends on Pillow's version (since 13, the height comes first if it
shrinks much more), so the installed Pillow is tested.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from src.utils.jit import compiled

BITS = 22
HALF = np.int32(1 << (BITS - 1))
BAND = 64
"""Rows that are transposed at a time."""

Order = Literal["width first", "by shrinkage", "unknown"]


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return uint8 (h, w, 3) resized to (height, width, 3).

    Every pixel equals the installed Pillow's `resize((width, height), BILINEAR)`.
    """
    order = pillow_order()
    return _pillow(image, height, width) if order == "unknown" else _resized(image, height, width, order)


@cache
def pillow_order() -> Order:
    """Return the order of passes that reproduces the installed Pillow.

    "unknown" means that none does, so that Pillow itself must do the work.
    """
    image = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    sizes = ((9, 30), (30, 9), (40, 37), (60, 50), (20, 47))
    orders: tuple[Order, ...] = ("width first", "by shrinkage")
    for order in orders:
        if all(np.array_equal(_resized(image, *size, order), _pillow(image, *size)) for size in sizes):
            return order
    return "unknown"


def _pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.BILINEAR))


def _resized(image: np.ndarray, height: int, width: int, order: Order) -> np.ndarray:
    shrinks = image.shape[0] - height
    if order == "by shrinkage" and shrinks > 0 and shrinks > 2 * (image.shape[1] - width):
        return _resized_width(_resized_height(image, height), width)
    return _resized_height(_resized_width(image, width), height)


def _resized_height(image: np.ndarray, height: int) -> np.ndarray:
    if image.shape[0] == height:
        return np.ascontiguousarray(image)
    return _combined(np.ascontiguousarray(image).reshape(image.shape[0], -1), height).reshape(height, *image.shape[1:])


def _resized_width(image: np.ndarray, width: int) -> np.ndarray:
    """Resize the width in bands of rows.

    What is transposed then stays in the processor's cache, and no second copy of a large picture is made.
    """
    if image.shape[1] == width:
        return image
    out = np.empty((len(image), width, image.shape[2]), np.uint8)
    for top in range(0, len(image), BAND):
        band = slice(top, top + BAND)
        out[band] = cv2.transpose(_resized_height(cv2.transpose(image[band]), width))
    return out


def _combined(rows: np.ndarray, count: int) -> np.ndarray:
    """Return rows (n, L) combined to (count, L): each new row is a weighted mean of neighbouring ones."""
    out = np.empty((count, rows.shape[1]), np.uint8)
    _combine(rows, *_weights(len(rows), count), out)
    return out


@lru_cache(maxsize=1024)
def _weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the first row, the number of rows and the int32 weights (in units of 2⁻²²) for each of `new` rows.

    The weights are a triangle as wide as two old or two new rows, whichever is wider.
    """
    scale = old / new
    reach = max(scale, 1.0)
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    number = np.minimum((centres + reach + 0.5).astype(np.int64), old) - first
    weights = np.zeros((new, int(number.max())), np.int32)
    for row in range(new):
        taps = np.arange(first[row], first[row] + number[row])
        triangle = np.maximum(1 - np.abs((taps - centres[row] + 0.5) / reach), 0)
        weights[row, : number[row]] = (triangle / _summed(triangle) * (1 << BITS) + 0.5).astype(np.int32)
    return first, number, weights


def _summed(values: np.ndarray) -> float:
    """Sum from left to right, as Pillow does: NumPy's pairwise sum can differ in the last bit, and then a weight."""
    total = 0.0
    for value in values:
        total += float(value)
    return total


@compiled()
def _combine(rows, first, number, weights, out):  # type: ignore[no-untyped-def]
    length = rows.shape[1]
    total = np.empty(length, np.int32)
    for i in range(out.shape[0]):
        for j in range(length):
            total[j] = HALF
        for tap in range(number[i]):
            weight, row = weights[i, tap], rows[first[i] + tap]
            for j in range(length):
                total[j] += np.int32(row[j]) * weight
        target = out[i]
        for j in range(length):
            target[j] = np.uint8(total[j] >> np.int32(BITS))
