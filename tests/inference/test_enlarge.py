"""8-bit levels at a picture's size: what torch computes step by step, to one level."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from src.inference.enlarge import LIMIT, enlarged_levels


def step_by_step(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolate, take the sigmoid and round, one after the other, in float32."""
    enlarged = F.interpolate(
        torch.from_numpy(logits)[None, None], (height, width), mode="bilinear", align_corners=False
    )
    return (255 * enlarged[0, 0].sigmoid()).round().numpy()


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (33, 500), (301, 7), (480, 640)])
def test_levels_are_those_of_torch(size):
    logits = np.random.default_rng(0).normal(0, 6, (64, 64)).astype(np.float32)
    difference = np.abs(enlarged_levels(logits, *size).astype(float) - step_by_step(logits, *size))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.005


def test_extreme_logits_saturate():
    logits = np.array([[-1e30, -LIMIT, 0, LIMIT, 1e30]], np.float32)
    np.testing.assert_array_equal(enlarged_levels(logits, 1, 5), [[0, 0, 128, 255, 255]])
