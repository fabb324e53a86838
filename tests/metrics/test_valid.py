"""The validity mask: what lies outside of it has no influence on any measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from src.metrics import EXTRAS, COSMetrics, score
from src.metrics import functional as fn
from tests.fixtures.maps import smooth_pair

PROTOCOLS = pytest.mark.parametrize("protocol", ["field", "raw"])
NEEDS_MAP = {
    "s_alpha",
    "s_object",
    "s_region",
    "f_weighted",
    "boundary_iou",
    "ms_iou",
    "hce",
    "context",
    "context_weighted",
}

PRED, TARGET = smooth_pair(40, 50, seed=3)
IMAGE = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
VALID = np.hypot(*np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 50), indexing="ij")) < 0.9


@PROTOCOLS
def test_the_outside_does_not_matter(protocol):
    rng = np.random.default_rng(0)
    expected = score(PRED, TARGET, protocol, valid=VALID, extra=EXTRAS, image=IMAGE)
    noise = np.where(VALID, PRED, rng.random(PRED.shape))
    other = np.where(VALID, TARGET, rng.random(PRED.shape) < 0.5)
    changed = score(noise, other, protocol, valid=VALID, extra=EXTRAS, image=IMAGE)
    assert changed.scalars == expected.scalars
    for name, curve in expected.curves.items():
        np.testing.assert_array_equal(changed.curves[name], curve)


@PROTOCOLS
@given(data=st.data(), target=arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
@settings(max_examples=60, deadline=None)
def test_counted_measures_are_those_of_the_valid_pixels_alone(protocol, data, target):
    """A single row of the valid pixels has the same counts; only what needs a map can tell the difference."""
    pred = data.draw(arrays(np.uint8, target.shape)) / 255
    valid = data.draw(arrays(np.bool_, target.shape).filter(np.any))
    ours = score(pred, target, protocol, valid=valid, extra=["auc"])
    row = score(pred[valid][None], target[valid][None], protocol, extra=["auc"])
    for name in ours.scalars.keys() - NEEDS_MAP:
        assert ours.scalars[name] == pytest.approx(row.scalars[name], rel=1e-13, abs=1e-14), name
    for name, curve in ours.curves.items():
        np.testing.assert_allclose(curve, row.curves[name], rtol=1e-13, atol=1e-14, err_msg=name)


@PROTOCOLS
def test_map_measures_see_background_outside(protocol):
    extra = sorted(NEEDS_MAP & set(EXTRAS))
    ours = score(PRED, TARGET, protocol, valid=VALID, extra=extra, image=IMAGE).scalars
    blanked = score(fn.prepare(PRED, protocol, VALID), TARGET & VALID, "raw", extra=extra, image=IMAGE).scalars
    for name in NEEDS_MAP:
        assert ours[name] == pytest.approx(blanked[name], abs=1e-13), name


@PROTOCOLS
def test_everywhere_valid_is_no_mask(protocol):
    with_mask = score(PRED, TARGET, protocol, valid=np.ones_like(VALID), extra=EXTRAS, image=IMAGE)
    without = score(PRED, TARGET, protocol, extra=EXTRAS, image=IMAGE)
    assert with_mask.scalars == pytest.approx(without.scalars, abs=1e-14)


def test_a_field_of_view_raises_specificity_honestly():
    """The black surround of a retina is easy background: counted, it flatters specificity and accuracy."""
    inside, whole = score(PRED, TARGET, valid=VALID).scalars, score(np.where(VALID, PRED, 0), TARGET & VALID).scalars
    assert inside["specificity"] < whole["specificity"]
    assert inside["sensitivity"] == whole["sensitivity"]


def test_some_images_have_no_mask():
    metric = COSMetrics()
    metric.update([PRED, torch.from_numpy(PRED)], [TARGET, TARGET], valid=[None, torch.from_numpy(VALID)])
    expected = [score(PRED, TARGET).scalars, score(PRED, TARGET, valid=VALID).scalars]
    assert metric.last_scores == expected
    assert metric.compute()["accuracy"].item() == pytest.approx(
        np.mean([scores["accuracy"] for scores in expected]), abs=1e-15
    )
    batch = COSMetrics()
    batch(PRED[None], TARGET[None], VALID[None])
    assert batch.last_scores == expected[1:]
