"""The connected parts of a mask: boxes, areas, probabilities, and outlines that reproduce the exact pixels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SMALLEST_SHARE = 1e-4
"""Parts with a smaller share of the picture are specks, not objects (our choice)."""
TOLERANCE = 1.0
"""Pixels by which an outline may deviate from the staircase of pixel edges (our choice); 0 follows every edge."""


@dataclass(frozen=True, eq=False)
class Region:
    """One connected part of a mask; pixels that touch at a corner belong together.

    Attributes:
        box: left, top, width, height in pixels.
        area: number of pixels, holes left out.
        probability: mean over these pixels, in [0, 1].
        pixels: bool (height, width) of the box.
    """

    box: tuple[int, int, int, int]
    area: int
    probability: float
    pixels: np.ndarray

    def outline(self, tolerance: float = TOLERANCE) -> np.ndarray:
        """Return the outer border along the pixels' edges as a polygon, float32 (n, 2).

        Its corners are x, y in pixels from the picture's corner. Holes are filled: a COCO polygon has none.

        Args:
            tolerance: how far the polygon may be from the border, in pixels; 0 keeps every corner.
        """
        corners = _border(self.pixels)
        if tolerance > 0:
            simple = cv2.approxPolyDP(corners.astype(np.float32)[:, None], tolerance, closed=True)[:, 0]
            corners = simple if len(simple) >= 3 else corners
        return corners.astype(np.float32) + np.array(self.box[:2], np.float32)


def find_regions(mask: np.ndarray, threshold: float = 0.5, smallest_share: float = SMALLEST_SHARE) -> list[Region]:
    """Return the connected parts of a mask, the largest first.

    Args:
        mask: uint8 (H, W), 255 · probability.
        threshold: in [0, 1]; what exceeds it is object.
        smallest_share: parts with a smaller share of the picture's pixels are left out.
    """
    foreground = (mask > 255 * threshold).astype(np.uint8)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(foreground, connectivity=8)
    smallest = max(1.0, smallest_share * mask.size)
    found = [
        _region(mask, labels, label, row)
        for label, row in enumerate(stats)
        if label and row[cv2.CC_STAT_AREA] >= smallest
    ]
    return sorted(found, key=lambda region: -region.area)


def _region(mask: np.ndarray, labels: np.ndarray, label: int, row: np.ndarray) -> Region:
    left, top, width, height, area = (int(value) for value in row)
    window = (slice(top, top + height), slice(left, left + width))
    pixels = labels[window] == label
    return Region((left, top, width, height), area, float(mask[window][pixels].mean()) / 255, pixels)


def _border(pixels: np.ndarray) -> np.ndarray:
    """Return the outer border of one connected part as corner points, int (n, 2), x and y.

    OpenCV walks through the pixels' centres. On a map of twice the size, pixel x covers the columns 2x and 2x + 1, and
    (c + 1) // 2 turns these into the edges x and x + 1.
    """
    double = np.repeat(np.repeat(pixels.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(double, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return _corners((contours[0][:, 0] + 1) // 2)


def _corners(points: np.ndarray) -> np.ndarray:
    """Return the points of a closed walk at which it changes its direction."""
    walk = points[np.any(points != np.roll(points, 1, axis=0), axis=1)]
    before, after = walk - np.roll(walk, 1, axis=0), np.roll(walk, -1, axis=0) - walk
    return walk[np.any(np.sign(before) != np.sign(after), axis=1)]
