"""Every measure agrees with pysodmetrics 1.6.2."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from src.metrics import COSMetrics, score
from tests.fixtures.maps import edge_cases, eight_bit_pair, smooth_pair
from tests.fixtures.oracle import differences, oracle

TOLERANCE = 1e-12
EDGE_CASES = edge_cases()
PROTOCOLS = pytest.mark.parametrize("protocol", ["field", "raw"])


def assert_agrees(pred: np.ndarray, target: np.ndarray, protocol: str) -> None:
    single = score(pred, target, protocol)
    expected = oracle([pred], [target], protocol)
    found = differences({**single.scalars, **single.curves}, expected)
    assert max(found.values()) <= TOLERANCE, found


@PROTOCOLS
@pytest.mark.parametrize("pair", [smooth_pair, eight_bit_pair])
@pytest.mark.parametrize("size", [(96, 96), (73, 121), (150, 64)])
def test_realistic_maps(pair, size, protocol):
    for seed in range(3):
        assert_agrees(*pair(*size, seed), protocol)


@PROTOCOLS
@pytest.mark.parametrize("name", EDGE_CASES)
def test_edge_cases(name, protocol):
    assert_agrees(*EDGE_CASES[name], protocol)


@PROTOCOLS
def test_data_set(protocol):
    pairs = [smooth_pair(40 + 9 * i, 70 - 5 * i, seed=i) for i in range(6)] + [
        EDGE_CASES["empty mask"],
        EDGE_CASES["two objects"],
    ]
    preds, targets = [pred for pred, _ in pairs], [target for _, target in pairs]
    metric = COSMetrics(protocol)
    metric.update(preds[:3], targets[:3])
    metric.update(preds[3:], targets[3:])
    found = differences(metric.compute(), oracle(preds, targets, protocol))
    assert max(found.values()) <= TOLERANCE, found


shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)
levels = arrays(np.uint8, shapes, elements=st.one_of(st.integers(0, 255), st.sampled_from([0, 1, 127, 128, 254, 255])))
floats = arrays(
    np.float64, shapes, elements=st.floats(0, 1, width=32, allow_subnormal=False).filter(lambda x: x == 0 or x > 1e-30)
)


@pytest.mark.slow
@PROTOCOLS
@given(data=st.data(), pred=st.one_of(levels.map(lambda grey: grey / 255), floats))
@settings(max_examples=150, deadline=None)
def test_generated_maps(protocol, data, pred):
    target = data.draw(arrays(np.bool_, pred.shape))
    assert_agrees(pred, target, protocol)


@given(seed=st.integers(0, 2**32 - 1), height=st.integers(8, 60), width=st.integers(8, 60), share=st.floats(0.01, 0.99))
@settings(max_examples=60, deadline=None)
def test_generated_objects(seed, height, width, share):
    """Boxes of any size and place, sparse predictions: windows of weighted F, and equal distances to two objects."""
    rng = np.random.default_rng(seed)
    target = np.zeros((height, width), dtype=bool)
    for _ in range(rng.integers(1, 4)):
        top, left = rng.integers(height), rng.integers(width)
        target[top : top + rng.integers(1, height), left : left + rng.integers(1, width)] = True
    pred = np.where(rng.random((height, width)) < share, rng.random((height, width)), 0.0)
    for protocol in ("field", "raw"):
        assert_agrees(pred, target, protocol)
