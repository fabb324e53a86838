"""The compiled paths: exact far from the object and where distances tie, the same for any layout, thread or cache."""

from __future__ import annotations

import importlib.util
import sys

import numba.core.caching
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import convolve, distance_transform_edt

from src.metrics import COSMetrics, score, score_many
from src.metrics import functional as fn
from src.metrics.functional import kernels
from src.utils.errors import UserError
from tests.fixtures.maps import edge_cases, smooth_pair


def f_weighted_by_scipy(pred: np.ndarray, target: np.ndarray) -> float:
    """Weighted F by SciPy's distance transform and a plain convolution over the whole map."""
    distance, (rows, columns) = distance_transform_edt(~target, return_indices=True)
    error = np.abs(pred - target)
    offsets = np.arange(-3, 4)
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / 50)
    averaged = convolve(error[rows, columns], window / window.sum(), mode="constant")
    on_object = np.minimum(error, averaged)[target].sum()
    off_object = (error * (2 - np.exp(np.log(0.5) / 5 * distance)))[~target].sum()
    hit = target.sum() - on_object
    recall, precision = 1 - on_object / target.sum(), hit / (hit + off_object)
    return float(2 * recall * precision / (recall + precision))


@given(seed=st.integers(0, 2**32 - 1), points=st.integers(1, 12), height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=200, deadline=None)
def test_ties_between_scattered_pixels(seed, points, height, width):
    """Few object pixels, each with its own error: most fringe pixels are equally near to two, and take one's error."""
    rng = np.random.default_rng(seed)
    target = np.zeros((height, width), dtype=bool)
    target[rng.integers(height, size=points), rng.integers(width, size=points)] = True
    pred = rng.random(target.shape)
    assert fn.f_weighted(pred, target) == pytest.approx(f_weighted_by_scipy(pred, target), abs=1e-13)


@pytest.mark.parametrize("offset", [(0, 2), (2, 0), (2, 2), (1, 3), (4, 0), (0, 6), (3, 3)])
def test_a_tie_is_broken_as_scipy_breaks_it(offset):
    """Two object pixels, one wholly missed: the average shows which of their errors the midpoint between them takes."""
    for missed in (0, 1):
        target = np.zeros((15, 15), dtype=bool)
        pixels = ((5, 5), (5 + offset[0], 5 + offset[1]))
        pred = np.full(target.shape, 0.25)
        for i, pixel in enumerate(pixels):
            target[pixel] = True
            pred[pixel] = 0.0 if i == missed else 0.9
        assert fn.f_weighted(pred, target) == pytest.approx(f_weighted_by_scipy(pred, target), abs=1e-15)


@pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1)])
@pytest.mark.parametrize("shape", [(400, 500), (3, 900), (900, 3)])
def test_further_than_the_cut(corner, shape):
    """Errors lie up to 900 pixels from the object; beyond 255 their weight is 2 to the last bit but one."""
    target = np.zeros(shape, dtype=bool)
    target[corner] = True
    pred = np.random.default_rng(0).random(shape)
    assert fn.f_weighted(pred, target) == pytest.approx(f_weighted_by_scipy(pred, target), rel=1e-13)


@pytest.mark.parametrize("name", edge_cases())
def test_both_paths_give_the_same(name):
    """Histograms of 8-bit levels (`field`), and the pixels of the very same map (`raw`)."""
    pred, target = edge_cases()[name]
    by_levels = score(pred, target, "field", extra=["auc", "boundary_iou", "context"])
    by_pixels = score(fn.prepare(pred, "field"), target, "raw", extra=["auc", "boundary_iou", "context"])
    assert by_levels.scalars == pytest.approx(by_pixels.scalars, rel=1e-13, abs=1e-13)
    for key, curve in by_levels.curves.items():
        np.testing.assert_allclose(curve, by_pixels.curves[key], rtol=1e-13, atol=1e-13, err_msg=key)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_rounding_is_numpys(dtype):
    grid = np.concatenate(
        [np.arange(511) / 510, np.nextafter(np.arange(511) / 510, 0), np.random.default_rng(0).random(4096)]
    )
    pred = grid.astype(dtype)
    np.testing.assert_array_equal(fn.to_8bit(pred), np.rint(pred.astype(np.float64) * 255).astype(np.uint8))


@given(
    levels=arrays(np.uint8, (6, 8), elements=st.sampled_from([0, 51, 102, 204, 255])), target=arrays(np.bool_, (6, 8))
)
@settings(max_examples=100, deadline=None)
def test_adaptive_threshold_on_a_grey_value(levels, target):
    """Few levels, so that twice the mean often equals one: NumPy's mean of the pixels decides, as in the toolbox."""
    pred = levels / 255
    pixels = fn.prepare(pred, "field")
    expected = fn.counts_above(pixels >= fn.adaptive_threshold(pixels), target)
    assert score(pred, target).scalars["f_adp"] == float(fn.f_measure(expected))


def test_any_layout():
    """Views, reversed, transposed, read-only and big-endian arrays score as their plain copies."""
    pred, target = smooth_pair(40, 60, seed=5)
    pred, target = pred.astype(np.float32), target.copy()
    expected = score(pred, target).scalars
    padded = np.zeros((80, 130), np.float32)
    padded[::2, 5:125:2] = pred
    fixed_pred, fixed_target = pred.copy(), target.copy()
    fixed_pred.flags.writeable = fixed_target.flags.writeable = False
    layouts = [
        (padded[::2, 5:125:2], target[::-1][::-1]),
        (np.asfortranarray(pred), np.asfortranarray(target)),
        (fixed_pred, fixed_target),
        (pred.astype(">f4"), target),
    ]
    for other_pred, other_target in layouts:
        for protocol in ("field", "raw"):
            assert score(other_pred, other_target, protocol).scalars == score(pred, target, protocol).scalars
    assert score(*layouts[0]).scalars == expected


def test_inputs_stay_as_they_are():
    pred, target = smooth_pair(30, 40, seed=6)
    valid = np.arange(40)[None].repeat(30, axis=0) > 5
    before = pred.copy(), target.copy(), valid.copy()
    for protocol in ("field", "raw"):
        score(pred, target, protocol, valid)
    for now, then in zip((pred, target, valid), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_threads_change_nothing():
    pairs = [smooth_pair(40 + i, 90 - i, seed=i) for i in range(12)]
    preds, targets = [pred for pred, _ in pairs], [target for _, target in pairs]
    valid = [None if i % 3 else np.ones(target.shape, dtype=bool) for i, target in enumerate(targets)]
    alone, together = (score_many(preds, targets, valid=valid, extra=["auc"], workers=workers) for workers in (1, 4))
    assert [single.scalars for single in alone] == [single.scalars for single in together]
    one, four = COSMetrics(extra=["auc"]), COSMetrics(extra=["auc"], workers=4)
    for metric in (one, four):
        metric.update(preds, targets, valid)
    assert four.last_scores == one.last_scores == [single.scalars for single in alone]
    assert four.compute()["f_weighted"] == one.compute()["f_weighted"]


def test_a_problem_of_one_map_stops_all():
    with pytest.raises(UserError, match="map 1: prediction runs from 2 to 2"):
        score_many([np.ones((3, 3)), np.full((3, 3), 2.0)], [np.ones((3, 3), dtype=bool)] * 2, workers=2)


@pytest.mark.parametrize("make", [lambda: COSMetrics(workers=0), lambda: score_many([], [], workers=0)])
def test_no_worker(make):
    with pytest.raises(UserError, match=r"metrics\.workers=0 is no number of threads"):
        make()


def test_without_a_place_for_the_cache(monkeypatch, caplog):
    """Where neither the source folder nor the user's cache can be written, the kernels are compiled all the same."""
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    spec = importlib.util.spec_from_file_location("uncached_kernels", kernels.__file__)
    uncached = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "uncached_kernels", uncached)
    with caplog.at_level("DEBUG", logger="src.utils.jit"):
        spec.loader.exec_module(uncached)
    assert "profile is compiled again in each process" in caplog.text
    rows, columns = np.zeros(2, np.int32), np.zeros(3, np.int32)
    uncached.profile(np.array([[0, 1, 1], [0, 0, 1]], dtype=np.uint8), rows, columns)
    assert (rows.tolist(), columns.tolist()) == ([2, 1], [0, 1, 2])
