"""Known answers, worked out by hand, and the properties that the functions promise."""

from __future__ import annotations

import numpy as np
import py_sod_metrics as sod
import pytest

from src.metrics import functional as fn
from src.metrics import score
from tests.fixtures.maps import smooth_pair

PRED = np.array([[0.8, 0.2], [0.4, 0.0]])
TARGET = np.array([[True, False], [False, False]])


def test_counts_at_thresholds_by_hand():
    """⌊255 p⌋ is 204 on the object; 51, 102, 0 off it."""
    counts = fn.counts_at_thresholds(PRED, TARGET)
    levels = np.round(fn.THRESHOLDS * 255)
    np.testing.assert_array_equal(counts.tp, levels <= 204)
    np.testing.assert_array_equal(counts.fp, 1.0 * (levels <= 51) + (levels <= 102) + (levels == 0))
    assert (counts.positives, counts.size) == (1, 4)


def test_simple_measures_by_hand():
    scalars = score(PRED, TARGET, "raw").scalars
    assert scalars["mae"] == pytest.approx((0.2 + 0.2 + 0.4) / 4, abs=1e-15)
    # 0.5 and 2 · mean = 0.7 both find the object.
    assert (scalars["iou"], scalars["dice"], scalars["f_adp"]) == (1.0, 1.0, 1.0)
    assert scalars["e_adp"] == pytest.approx(4 / 3, abs=1e-14)  # four aligned pixels over H·W − 1


def test_f_curve_by_hand():
    """The object is found down from 204; one pixel too many from 102, two from 51, three at 0."""
    curve = score(PRED, TARGET, "raw").curves["f_curve"]
    expected = [0.0] * 51 + [1.0] * 102 + [1.3 * 0.5 / 1.15] * 51 + [1.3 / 3 / 1.1] * 51 + [1.3 * 0.25 / 1.075]
    np.testing.assert_allclose(curve, expected, rtol=0, atol=1e-15)


def test_s_alpha_by_hand():
    """Object: mean 0.8, spread 0. Outside: 1 − p = 0.8, 0.6, 1: mean 0.8, spread 0.2. One-pixel regions score 1."""
    inside, outside = 2 * 0.8 / (0.64 + 1), 2 * 0.8 / (0.64 + 1 + 0.2)
    assert fn.s_alpha(PRED, TARGET) == pytest.approx(0.5 * (0.25 * inside + 0.75 * outside) + 0.5, abs=1e-12)


def test_f_weighted_by_hand():
    """Nearest errors are all 0.2; the corner pixel sees 2×2 of the window; two false positives at distance 1."""
    kernel = np.exp(-np.array([0, 1, 4, 9]) / 50)
    corner = 0.2 * (kernel[:2].sum() / (2 * kernel.sum() - 1)) ** 2
    recall = 1 - corner
    precision = recall / (recall + (0.2 + 0.4) * (2 - 0.5**0.2))
    assert fn.f_weighted(PRED, TARGET) == pytest.approx(2 * recall * precision / (recall + precision), abs=1e-12)


def test_field_rounds_then_stretches():
    np.testing.assert_allclose(fn.prepare(PRED, "field"), [[1.0, 0.25], [0.5, 0.0]], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(fn.prepare(np.full((2, 3), 0.3), "field"), np.full((2, 3), 76 / 255))
    np.testing.assert_array_equal(fn.prepare(PRED, "raw"), PRED)


def test_half_is_read_on_the_map_of_the_protocol():
    """0.4 becomes 1 when it is the highest value of the map."""
    pred = np.array([[0.4, 0.0]])
    target = np.array([[True, False]])
    assert score(pred, target, "field").scalars["iou"] == 1.0
    assert score(pred, target, "raw").scalars["iou"] == 0.0


def test_saved_and_reloaded_map_scores_the_same():
    pred, target = smooth_pair(50, 60, seed=1)
    reloaded = fn.to_8bit(pred.astype(np.float32)) / 255
    assert score(reloaded, target).scalars == score(pred.astype(np.float32), target).scalars


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(("row", "column"), [(-1, 5), (5, -1), (-1, -1)])
def test_s_alpha_with_the_centroid_at_the_end(row, column):
    """The toolbox returns NaN, the mean of a region without pixels; a found object is worth 1 here as elsewhere."""
    pred, target = np.zeros((12, 12)), np.zeros((12, 12), dtype=bool)
    target[row, column] = pred[row, column] = True
    with pytest.warns(RuntimeWarning, match="empty slice"):
        assert np.isnan(sod.Smeasure().cal_sm(pred, target))
    assert fn.s_alpha(pred, target) == pytest.approx(1.0, abs=1e-9)


def test_perfect_and_inverted_maps():
    target = np.zeros((40, 50), dtype=bool)
    target[10:22, 8:30] = True
    perfect, inverted = score(target.astype(float), target).scalars, score((~target).astype(float), target).scalars
    for name in ("s_alpha", "f_max", "f_weighted", "iou", "dice"):
        assert perfect[name] == pytest.approx(1.0, abs=1e-9), name
    assert (perfect["mae"], inverted["mae"], inverted["iou"]) == (0.0, 1.0, 0.0)
    assert {type(value) for value in perfect.values()} == {float}
    assert inverted["f_weighted"] == pytest.approx(0.0, abs=1e-9)
