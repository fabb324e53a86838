"""The unfolding's own numbers."""

from __future__ import annotations

import pytest
import torch

from src.models.diagnostics import mask_step_gains, unfolding_values
from src.models.outputs import MaskOutput, RUNOutput, StageOutput


def test_gain_is_the_error_that_the_mask_step_removes():
    """M_0 = ½ everywhere, truth 1 on the left half: M̂_1 = ¾ on the left, ½ on the right gains a quarter on half the pixels."""
    coarse = torch.zeros(1, 1, 8, 8)
    mask_hat = torch.full((1, 1, 8, 8), 0.5)
    mask_hat[..., :4] = 0.75
    blank = torch.zeros(1, 3, 8, 8)
    stage = StageOutput(mask_hat, coarse, coarse.sigmoid(), None, blank, None, coarse)
    truth = torch.zeros(50, 40, dtype=torch.bool)
    truth[:, :20] = True
    gains = mask_step_gains(RUNOutput(torch.zeros(1, 1, 32, 32), coarse, (stage,)), [truth])
    assert [gain.item() for gain in gains] == pytest.approx([0.125], abs=1e-6)
    left = truth.clone()
    gains = mask_step_gains(RUNOutput(torch.zeros(1, 1, 32, 32), coarse, (stage,)), [truth], [left])
    assert [gain.item() for gain in gains] == pytest.approx([0.25], abs=1e-6)  # where the truth is known, every pixel gains
    assert mask_step_gains(MaskOutput(torch.zeros(1, 1, 32, 32)), [truth]) == []


def test_values_of_the_unfolding(make_run):
    shared = unfolding_values(make_run())
    assert shared == pytest.approx({"mu_0": 0.01, "alpha_0": 0.01, "s_0": 0.1, "lambda_0": 0.01}, rel=1e-5)
    assert len(unfolding_values(make_run(share_stages="none", mask_residual=True))) == 4 * 5
    assert unfolding_values(make_run(coupling=False)) == {}
