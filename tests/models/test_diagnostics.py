"""The unfolding's own numbers."""

from __future__ import annotations

import pytest
import torch

from src.models.diagnostics import GAINED_BY, gains_by_part, mask_step_gains, mask_step_parts, unfolding_values
from src.models.outputs import MaskOutput, RUNOutput, StageOutput


def truth_at_unfolding(truth: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(truth[None, None].float(), (8, 8), mode="area")


def test_gain_is_the_error_that_the_mask_step_removes():
    """M_0 = ½ everywhere, truth 1 on the left half: M̂_1 = ¾ left, ½ right, which gains a quarter on half the pixels."""
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
    # Where the truth is known, every pixel gains.
    assert [gain.item() for gain in gains] == pytest.approx([0.25], abs=1e-6)
    closed = RUNOutput(torch.zeros(1, 1, 32, 32), coarse, (stage, stage), truth_at_unfolding(truth))
    gains = mask_step_gains(closed, [truth])
    # The closing step is right everywhere.
    assert [gain.item() for gain in gains] == pytest.approx([0.125, 0.125, 0.5], abs=1e-6)
    assert mask_step_gains(MaskOutput(torch.zeros(1, 1, 32, 32)), [truth]) == []


def test_values_of_the_unfolding(make_run):
    shared = unfolding_values(make_run())
    assert shared == pytest.approx({"mu_0": 0.01, "alpha_0": 0.01, "s_0": 0.1, "lambda_0": 0.01}, rel=1e-5)
    assert len(unfolding_values(make_run(share_stages="none", state_space={"gamma": 0.0}))) == 4 * 5
    assert unfolding_values(make_run(coupling=False)) == {}


@pytest.mark.parametrize("residual", [True, "stages", False])
def test_parts_add_up_to_the_step(make_run, residual):
    """Where nothing was clamped, the four parts sum to the step; stage 1 has no evidence of U yet (method.md 3.5)."""
    net = make_run(
        unfold_stride=4, mask_step={"residual": residual, "uncertain_band": "one"}, robe={"lam": 0.3}, closing_step=True
    ).eval()
    with torch.no_grad():  # a U with an effect that is too small to leave [0, 1]
        net.robes[0].network.head.weight.mul_(30)
    image = 0.2 + 0.6 * torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        output = net(image)
    parts = mask_step_parts(net, image, output)
    masks = [logits.sigmoid() for logits in output.stage_logits]
    assert len(parts) == len(masks) == len(output.stages) + 1 == 5
    for before, after, part in zip(
        masks, [*(stage.mask_hat for stage in output.stages), output.closing], parts, strict=True
    ):
        inside = (after > 0) & (after < 1)
        assert inside.float().mean() > 0.9
        total = part.evidence + part.memory + part.gradient + part.sparsity
        assert (total - (after - before))[inside].abs().max() < 1e-5
    assert parts[0].evidence.abs().max() == 0
    assert parts[1].evidence.abs().max() > 1e-3
    assert (parts[1].gradient.abs().max() > 0) == bool(residual)
    assert (parts[-1].gradient.abs().max() > 0) == (residual is True)
    assert mask_step_parts(make_run(mask_step=None), image, output) == []


def test_gains_by_part_are_those_of_the_step_and_of_less(make_run):
    """All parts together are the step itself; each part alone has the gain of a mask that is computed by hand."""
    net = make_run(unfold_stride=4, mask_step={"uncertain_band": "one"}, robe={"lam": 0.3}, closing_step=True).eval()
    with torch.no_grad():
        net.robes[0].network.head.weight.mul_(20)
        image = 0.2 + 0.6 * torch.rand(1, 3, 64, 64)
        output = net(image)
    truth = [torch.rand(40, 50) > 0.5]
    found = gains_by_part(net, image, output, truth)
    assert list(found) == list(GAINED_BY)
    whole = mask_step_gains(output, truth)
    assert torch.stack(found["the step"]) == pytest.approx(torch.stack(whole), abs=1e-5)
    parts = mask_step_parts(net, image, output)[1]
    small = torch.nn.functional.interpolate(truth[0][None, None].float(), (64, 64), mode="area")
    small = torch.nn.functional.avg_pool2d(small, 4)
    before = output.stages[0].mask
    after = (before + parts.evidence + parts.gradient).clamp(0, 1)
    by_hand = (before - small).abs().mean() - (after - small).abs().mean()
    assert found["(a) and (c)"][1].item() == pytest.approx(by_hand.item(), abs=1e-6)
    assert found["(a) the evidence of U"][0].item() == pytest.approx(0, abs=1e-6)  # B_0 = (1 − M_0)·C holds no evidence
    assert gains_by_part(make_run(mask_step=None), image, output, truth)["the step"] == []
