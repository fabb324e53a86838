"""Bad input is refused as a whole: every problem is named, and nothing is counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from src.metrics import COSMetrics, score
from src.utils.errors import UserError

GOOD = torch.full((4, 6), 0.5)
MASK = torch.zeros(4, 6, dtype=torch.bool)


def problems_of(preds, targets) -> tuple[str, ...]:
    metric = COSMetrics()
    metric.update([GOOD], [MASK])
    before = {name: value.clone() for name, value in metric.metric_state.items()}
    for call in (metric.update, metric.forward):
        with pytest.raises(UserError) as caught:
            call(preds, targets)
        for name, value in before.items():
            assert torch.equal(value, metric.metric_state[name]), name
        assert len(metric.last_scores) == 1
    return caught.value.problems


def test_all_problems_at_once():
    hole = GOOD.clone()
    hole[1, 2] = hole[0, 0] = float("nan")
    logits = GOOD * 6 - 1
    found = problems_of(
        [GOOD, torch.full((4, 5), 0.5), hole, logits, (GOOD * 255).byte(), GOOD, torch.zeros(3, 4, 6), -GOOD],
        [MASK, MASK, MASK, MASK, MASK, MASK.byte(), MASK, MASK.T],
    )
    assert found == (
        "map 1: prediction is 4×5, target is 4×6; resize the prediction to the mask's size",
        "map 2: prediction has 2 NaN of 24 pixels",
        "map 3: prediction runs from 2 to 2; expected [0, 1] (apply the sigmoid to logits)",
        "map 4: prediction is uint8; expected floats in [0, 1] (divide 8-bit grey values by 255)",
        "map 5: target is uint8; expected bool (`mask > 128` of an 8-bit mask)",
        "map 6: prediction has shape (3, 4, 6); expected (H, W) with at least one pixel",
        "map 6: prediction is 3×4×6, target is 4×6; resize the prediction to the mask's size",
        "map 7: prediction runs from -0.5 to -0.5; expected [0, 1] (apply the sigmoid to logits)",
        "map 7: prediction is 4×6, target is 6×4; resize the prediction to the mask's size",
    )


def test_lengths_and_the_maps_that_pair_up():
    assert problems_of([GOOD, -GOOD, GOOD], [MASK, MASK]) == (
        "3 predictions but 2 targets",
        "map 1: prediction runs from -0.5 to -0.5; expected [0, 1] (apply the sigmoid to logits)",
    )


def test_infinity_and_no_pixels():
    assert problems_of([GOOD / 0, GOOD[:0]], [MASK, MASK[:0]]) == (
        "map 0: prediction runs from inf to inf; expected [0, 1] (apply the sigmoid to logits)",
        "map 1: prediction has shape (0, 6); expected (H, W) with at least one pixel",
        "map 1: target has shape (0, 6); expected (H, W) with at least one pixel",
    )


def test_a_single_map_is_not_a_batch():
    assert problems_of(GOOD, MASK) == (
        "predictions have shape (4, 6); expected a list of (H, W) maps, (N, H, W) or (N, 1, H, W)",
        "targets have shape (4, 6); expected a list of (H, W) maps, (N, H, W) or (N, 1, H, W)",
    )


def test_validity_masks():
    inside = torch.ones(4, 6, dtype=torch.bool)
    metric = COSMetrics()
    with pytest.raises(UserError) as caught:
        metric.update(
            [GOOD] * 6, [MASK] * 6, [inside, inside.byte(), inside[:3], ~inside, None, inside[None].repeat(2, 1, 1)]
        )
    assert caught.value.problems == (
        "map 1: validity mask is uint8; expected bool (`fov > 128` of an 8-bit mask)",
        "map 2: validity mask is 3×6, target is 4×6",
        "map 3: validity mask has no valid pixel: nothing would be judged",
        "map 5: validity mask has shape (2, 4, 6); expected (H, W)",
        "map 5: validity mask is 2×4×6, target is 4×6",
    )
    with pytest.raises(UserError, match="2 predictions but 1 validity masks"):
        metric.forward([GOOD] * 2, [MASK] * 2, [inside])
    with pytest.raises(UserError, match=r"validity masks have shape \(4, 6\)"):
        metric.update([GOOD], [MASK], inside)
    assert metric.count == 0


def test_none_is_no_map():
    assert problems_of([GOOD, None], [None, MASK]) == (
        "map 0: target has shape (); expected (H, W) with at least one pixel",
        "map 1: prediction has shape (); expected (H, W) with at least one pixel",
    )


def test_score_checks_its_map():
    with pytest.raises(UserError, match="map 0: prediction is 4×5, target is 4×6"):
        score(np.zeros((4, 5)), np.zeros((4, 6), dtype=bool))


@pytest.mark.parametrize("make", [COSMetrics, lambda protocol: score(GOOD, MASK, protocol)])
def test_unknown_protocol(make):
    with pytest.raises(UserError, match=r"metrics\.protocol='matlab' is unknown; choose one of: field, raw"):
        make("matlab")


@pytest.mark.parametrize("extra", [["boundary", "context"], "boundary"])
def test_unknown_extra(extra):
    with pytest.raises(
        UserError,
        match=r"unknown measures: 'boundary'.*Available: auc, boundary_iou, ms_iou, hce, context, context_weighted",
    ):
        COSMetrics(extra=extra)
