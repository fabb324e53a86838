"""The camouflage-weighted context measure: equal to pysodmetrics, and a missing image is reported."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from src.metrics import COSMetrics, score
from src.metrics import functional as fn
from src.utils.errors import UserError
from tests.fixtures.maps import smooth_pair
from tests.fixtures.oracle import camouflage_context


def photograph(height: int, width: int, seed: int) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width, 3)), (3, 3, 0))
    return np.clip(128 + 50 * noise / noise.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(96, 120), (61, 83), (40, 150)])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_toolbox(size, seed):
    pred, target = smooth_pair(*size, seed)
    image = photograph(*size, seed)
    value, degree = camouflage_context(pred, target, image)
    assert degree.max() > 0
    np.testing.assert_allclose(fn.camouflage_degree(image, target), degree, rtol=0, atol=1e-12)
    assert score(pred, target, "raw", extra=["context_weighted"], image=image).scalars[
        "context_weighted"
    ] == pytest.approx(value, abs=1e-12)


def test_where_no_patch_fits_it_is_the_plain_measure_with_its_own_beta():
    pred, target = smooth_pair(20, 30, seed=1)
    dots = np.zeros_like(target)
    dots[4:8, 5:9] = True  # 4 pixels wide: no 7 × 7 patch lies inside
    for mask in (dots, np.ones_like(target), np.zeros_like(target)):
        value, degree = camouflage_context(pred, mask, photograph(20, 30, 0))
        assert not degree.any()
        assert fn.context_weighted(pred, mask, photograph(20, 30, 0)) == pytest.approx(value, abs=1e-12)
    assert fn.camouflage_degree(photograph(5, 4, 0), np.ones((5, 4), dtype=bool)).tolist() == np.zeros((5, 4)).tolist()


def test_hidden_parts_weigh_more():
    """Left half of the object looks like its surroundings, right half does not: missing the left half costs more."""
    target = np.zeros((80, 120), dtype=bool)
    target[20:60, 20:100] = True
    image = photograph(80, 120, seed=3) // 8 + 100
    image[20:60, 60:100] = (255, 0, 255)
    left, right = target.copy(), target.copy()
    left[:, 60:], right[:, :60] = False, False
    scores = {
        name: fn.context_weighted(found.astype(float), target, image)
        for name, found in (("left", left), ("right", right))
    }
    assert scores["left"] > scores["right"] + 0.1
    assert fn.context(left.astype(float), target) == pytest.approx(fn.context(right.astype(float), target), abs=1e-6)


def test_images_are_asked_for_and_checked():
    pred, target = smooth_pair(20, 30, seed=1)
    metric = COSMetrics(extra=["context_weighted"])
    with pytest.raises(
        UserError, match=r"context_weighted of metrics\.extra needs the images, \(H, W, 3\) uint8 RGB: pass them"
    ):
        metric.update([pred], [target])
    with pytest.raises(UserError) as caught:
        metric.forward(
            [pred] * 3, [target] * 3, images=[photograph(20, 30, 0), photograph(20, 31, 0), photograph(20, 30, 0) / 255]
        )
    assert caught.value.problems == (
        "map 1: image is 20×31×3 uint8, target is 20×30; expected (H, W, 3) uint8 of the same size",
        "map 2: image is 20×30×3 float64, target is 20×30; expected (H, W, 3) uint8 of the same size",
    )
    with pytest.raises(UserError, match="2 predictions but 1 images"):
        metric.update([pred] * 2, [target] * 2, images=[photograph(20, 30, 0)])
    assert metric.count == 0
    metric.update([pred], [target], images=[photograph(20, 30, 0)])
    assert metric.compute()["context_weighted"] > 0


def test_missing_scikit_image_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.color", None)
    target = np.zeros((60, 60), dtype=bool)
    target[20:40, 20:40] = True
    with pytest.raises(UserError, match="context_weighted, which needs scikit-image: pip install scikit-image"):
        fn.context_weighted(target.astype(float), target, photograph(60, 60, 0))
