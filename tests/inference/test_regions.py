"""Outlines give back the very pixels that they surround."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes

from src.inference.regions import find_regions


def filled(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which pixels' centres are inside a polygon, by the even-odd rule."""
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    inside = np.zeros((height, width), bool)
    for (x1, y1), (x2, y2) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y1 != y2:
            inside ^= ((y1 > rows) != (y2 > rows)) & (columns < (x2 - x1) * (rows - y1) / (y2 - y1) + x1)
    return inside


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.2, 0.4, 0.6, 0.8]))
def test_an_exact_outline_surrounds_the_pixels_and_their_holes(seed, share):
    mask = (np.random.default_rng(seed).random((12, 15)) < share).astype(np.uint8) * 255
    regions = find_regions(mask, smallest_share=0)
    assert sum(region.area for region in regions) == np.count_nonzero(mask)
    for region in regions:
        left, top, width, height = region.box
        whole = np.zeros(mask.shape, bool)
        whole[top : top + height, left : left + width] = region.pixels
        np.testing.assert_array_equal(filled(region.outline(0), *mask.shape), binary_fill_holes(whole))


def test_boxes_areas_and_probabilities():
    mask = np.zeros((40, 60), np.uint8)
    mask[5:15, 10:40] = 204
    mask[20:24, 2:5] = 255
    mask[39, 59] = 255
    large, small, corner = find_regions(mask, smallest_share=0)
    assert (large.box, large.area, large.probability) == ((10, 5, 30, 10), 300, pytest.approx(0.8))
    assert (small.box, corner.box) == ((2, 20, 3, 4), (59, 39, 1, 1))
    np.testing.assert_array_equal(np.unique(large.outline(0), axis=0), [[10, 5], [10, 15], [40, 5], [40, 15]])
    assert len(find_regions(mask, smallest_share=0.004)) == 2
    assert [region.area for region in find_regions(mask, threshold=0.9, smallest_share=0)] == [12, 1]


def test_a_simplified_outline_stays_within_its_tolerance():
    mask = np.zeros((200, 200), np.uint8)
    cv2.circle(mask, (100, 100), 80, 255, -1)
    (region,) = find_regions(mask)
    exact, simple = region.outline(0), region.outline(1)
    assert len(simple) < len(exact) / 4
    away = [abs(cv2.pointPolygonTest(simple[:, None], (float(x), float(y)), True)) for x, y in exact]
    assert max(away) <= 1.01


def test_an_empty_mask_has_no_regions():
    assert find_regions(np.zeros((5, 5), np.uint8)) == []
