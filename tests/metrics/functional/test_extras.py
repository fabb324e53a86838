"""The slow measures: equal to pysodmetrics where it has them, and to a brute-force count where it does not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import binary_erosion

from src.metrics import COSMetrics, score
from src.metrics import functional as fn
from src.utils.errors import UserError
from tests.fixtures.maps import edge_cases, smooth_pair
from tests.fixtures.oracle import EXTRAS, oracle

EDGE_CASES = edge_cases()
PROTOCOLS = pytest.mark.parametrize("protocol", ["field", "raw"])
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)


def assert_extras_agree(pred: np.ndarray, target: np.ndarray, protocol: str) -> None:
    ours = score(pred, target, protocol, extra=EXTRAS).scalars
    theirs = oracle([pred], [target], protocol, EXTRAS)
    for name in EXTRAS:
        assert ours[name] == pytest.approx(theirs[name], abs=1e-12), name


@PROTOCOLS
@pytest.mark.parametrize("size", [(64, 64), (73, 121), (150, 40)])
def test_realistic_maps(size, protocol):
    for seed in range(4):
        assert_extras_agree(*smooth_pair(*size, seed), protocol)


@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name):
    assert_extras_agree(*EDGE_CASES[name], "field")


def is_slanted_line(target: np.ndarray) -> bool:
    """Collinear pixels, off the axes: the toolbox inverts a singular matrix."""
    points = np.argwhere(target)
    return len(points) > 1 and bool(np.ptp(points, axis=0).all()) and np.linalg.matrix_rank(points - points[0]) == 1


@given(data=st.data(), target=arrays(np.bool_, shapes))
@settings(max_examples=60, deadline=None)
def test_generated_maps(data, target):
    pred = data.draw(arrays(np.uint8, target.shape, elements=st.sampled_from([0, 1, 90, 127, 128, 200, 255]))) / 255
    if not is_slanted_line(target):
        assert_extras_agree(pred, target, "raw")


@given(seed=st.integers(0, 2**32 - 1), side=st.integers(30, 90))
@settings(max_examples=25, deadline=None)
def test_generated_objects(seed, side):
    """Thick faults, holes and separate parts, so that the correction effort has something to count."""
    pred, target = smooth_pair(side, side + 7, seed)
    rng = np.random.default_rng(seed)
    top, left = rng.integers(0, side - 20, size=2)
    pred[top : top + 15, left : left + 20] = rng.random()
    assert_extras_agree(pred, target, "raw")


def test_ms_iou_counts_exactly_where_the_toolbox_rounds():
    """A chess board has more than 2048 edge cells; half of them found is (n / 2 + 1) / (n + 1) at cell size 1."""
    target = np.indices((80, 80)).sum(axis=0) % 4 < 2
    pred = np.where(np.arange(80)[:, None] < 40, target, False)
    assert np.count_nonzero(fn.multiscale.edges(target)) > 4096
    assert fn.ms_iou(pred, target) == pytest.approx(
        oracle([pred.astype(float)], [target], "raw", ("ms_iou",))["ms_iou"], abs=1e-15
    )


def test_context_of_a_slanted_line():
    """The toolbox cannot invert the covariance; here the window is the line, and a perfect map beats a shifted one."""
    target = np.eye(40, dtype=bool)
    window = fn.context_window(target)
    np.testing.assert_allclose(window, np.diag(np.diag(window)), atol=1e-12)
    perfect, shifted = (fn.context(m.astype(float), target) for m in (target, np.roll(target, 2, axis=1)))
    assert 0.6 < perfect < 1
    assert shifted < 0.1


def brute_auc(pred: np.ndarray, target: np.ndarray) -> float:
    inside, outside = pred[target][:, None], pred[~target][None]
    return float(np.mean((inside > outside) + 0.5 * (inside == outside))) if inside.size and outside.size else 0.5


@PROTOCOLS
@given(data=st.data(), target=arrays(np.bool_, shapes))
@settings(max_examples=80, deadline=None)
def test_auc_by_comparing_all_pairs(protocol, data, target):
    few = st.sampled_from([0.0, 0.1, 0.5, 0.50001, 1.0])
    pred = data.draw(arrays(np.float64, target.shape, elements=st.one_of(few, st.floats(0, 1))))
    ours = score(pred, target, protocol, extra=["auc"]).scalars["auc"]
    assert ours == pytest.approx(brute_auc(fn.prepare(pred, protocol), target), abs=1e-14)


def test_auc_is_invariant_to_monotone_changes_and_flips_with_the_map():
    pred, target = smooth_pair(50, 60, seed=2)
    value = fn.auc(pred, target)
    assert 0.7 < value < 1
    assert fn.auc(pred**3, target) == value
    assert fn.auc(1 - pred, target) == pytest.approx(1 - value, abs=1e-15)
    assert fn.auc(np.full(pred.shape, 0.3), target) == 0.5


def brute_rim(mask: np.ndarray, width: int) -> np.ndarray:
    return mask & ~binary_erosion(mask, np.ones((3, 3)), iterations=width)


@given(target=arrays(np.bool_, shapes), width=st.integers(1, 5))
@settings(max_examples=80, deadline=None)
def test_rim_by_repeated_erosion(target, width):
    np.testing.assert_array_equal(fn.boundary.rim(target, width), brute_rim(target, width))


def test_boundary_iou_by_hand():
    """A 20 × 20 object in 300 × 400 pixels: rims 10 wide fill both squares, so a shift by 5 leaves 15 of 25 columns."""
    target = np.zeros((300, 400), dtype=bool)
    target[100:120, 100:120] = True
    assert fn.boundary.rim_width(target.shape) == 10
    assert fn.boundary_iou(np.roll(target, 5, axis=1), target) == pytest.approx(15 / 25, abs=1e-15)
    assert fn.boundary_iou(np.zeros_like(target), np.zeros_like(target)) == 0.0


def test_boundary_iou_sees_what_iou_forgives():
    """Eating away the rim of a large object costs all of its boundary IoU and little of its IoU."""
    target = np.zeros((200, 200), dtype=bool)
    target[20:180, 20:180] = True
    eaten = binary_erosion(target, np.ones((3, 3)), iterations=6)
    assert float(fn.iou(fn.counts_above(eaten, target))) > 0.85
    assert fn.boundary_iou(eaten, target) == 0.0


def test_extras_are_averaged_and_come_in_one_order():
    pairs = [smooth_pair(40, 50 + i, seed=i) for i in range(3)]
    metric = COSMetrics(extra=["context", "auc", "auc"])
    metric.update([pred for pred, _ in pairs], [target for _, target in pairs])
    result = metric.compute()
    assert [name for name in result if name in {"auc", "boundary_iou", "ms_iou", "hce", "context"}] == [
        "auc",
        "context",
    ]
    for name in ("auc", "context"):
        singles = [score(*pair, extra=[name]).scalars[name] for pair in pairs]
        assert result[name].item() == pytest.approx(np.mean(singles), abs=1e-15)
    assert metric.last_scores[-1]["auc"] == score(*pairs[-1], extra=["auc"]).scalars["auc"]


def test_missing_scikit_image_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.morphology", None)
    with pytest.raises(UserError, match="needs scikit-image: pip install scikit-image, or leave hce out"):
        score(*smooth_pair(20, 20, seed=0), extra=["hce"])
