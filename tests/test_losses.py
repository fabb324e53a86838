"""The losses of method.md 4 against calculations by hand and an independent implementation in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from src.losses import StagewiseLoss, boundary_weight, dice_loss, edge_target, structure_loss, uncertainty_loss
from src.models.outputs import MaskOutput, RUNOutput, StageOutput
from src.utils.errors import UserError

SIZE = (45, 50)


def _targets(batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    """One blob per map, each of another size; one touches the border of the image."""
    rows, columns = np.ogrid[: size[0], : size[1]]
    blobs = [(rows - 11 * n) ** 2 + (columns - 14) ** 2 < (6 + 5 * n) ** 2 for n in range(batch)]
    return torch.from_numpy(np.stack(blobs)).float()[:, None]


def _numpy_structure(logits: Tensor, target: Tensor) -> float:
    """F3Net's loss image by image in float64."""
    losses = []
    for x, g in zip(logits[:, 0].double().numpy(), target[:, 0].double().numpy(), strict=True):
        weight = 1 + 5 * np.abs(ndimage.uniform_filter(g, 31, mode="constant") - g)
        p = 1 / (1 + np.exp(-x))
        wbce = -(weight * (g * np.log(p) + (1 - g) * np.log(1 - p))).sum() / weight.sum()
        intersection, union = (weight * p * g).sum(), (weight * (p + g - p * g)).sum()
        losses.append(wbce + 1 - (intersection + 1) / (union + 1))
    return float(np.mean(losses))


def test_structure_loss_of_one_pixel_by_hand():
    """The window sees one pixel and 960 zeros. Logit 0: p = ½."""
    weight = 1 + 5 * 960 / 961
    target = torch.ones(1, 1, 1, 1)
    assert boundary_weight(target).item() == pytest.approx(weight)
    expected = math.log(2) + 1 - (weight / 2 + 1) / (weight + 1)
    assert structure_loss(torch.zeros(1, 1, 1, 1), target).item() == pytest.approx(expected)


def test_structure_loss_of_two_pixels_by_hand():
    """G = (1, 0), p = (3/4, 1/4): the object weighs 1 + 5·960/961, the rest 1 + 5/961."""
    inside, outside = 1 + 5 * 960 / 961, 1 + 5 / 961
    logits = torch.tensor([math.log(3), -math.log(3)]).view(1, 1, 1, 2)
    wiou = 1 - (0.75 * inside + 1) / (inside + 0.25 * outside + 1)
    expected = math.log(4 / 3) + wiou
    assert structure_loss(logits, torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)).item() == pytest.approx(expected)


def test_structure_loss_equals_numpy_image_by_image():
    target = torch.cat([_targets(3), torch.zeros(1, 1, *SIZE), torch.ones(1, 1, *SIZE)])
    logits = 2 * torch.randn_like(target)
    assert structure_loss(logits, target).item() == pytest.approx(_numpy_structure(logits, target), rel=1e-5)
    given = structure_loss(logits, target, boundary_weight(target))
    assert torch.equal(given, structure_loss(logits, target))


def test_an_error_at_the_boundary_costs_more_than_one_far_away():
    """Flaw 4 of the released code: `reduce='none'` made the weights vanish from the cross-entropy."""
    target = torch.zeros(1, 1, 64, 64)
    target[..., 20:, :] = 1
    logits = 8 * (2 * target - 1)
    near, far = logits.clone(), logits.clone()
    near[..., 20, 32], far[..., 60, 32] = -8, -8
    near_extra, far_extra = (structure_loss(x, target) - structure_loss(logits, target) for x in (near, far))
    weight = boundary_weight(target)[0, 0]
    assert weight[20, 32] > 3.3
    assert near_extra / far_extra == pytest.approx((weight[20, 32] / weight[60, 32]).item(), rel=1e-2)


def test_structure_loss_of_a_perfect_and_of_a_wrong_mask():
    target = _targets()
    assert structure_loss(50 * (2 * target - 1), target) < 1e-5
    assert structure_loss(-50 * (2 * target - 1), target) > 50


def test_dice_loss_by_hand():
    """p = (½, ¾), g = (1, 0): 1 − (2·½ + 1) / (¼ + 9/16 + 1 + 1); an empty map costs nothing on an empty target."""
    logits = torch.tensor([[0.0, math.log(3)], [-50.0, -50.0]]).view(2, 1, 1, 2)
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(2, 1, 1, 2)
    assert dice_loss(logits[:1], target[:1]).item() == pytest.approx(1 - 2 / 2.8125)
    assert dice_loss(logits, target).item() == pytest.approx((1 - 2 / 2.8125) / 2)


def test_uncertainty_loss_by_hand():
    """p = ½ → 1, ¾ → ¾, ¼ → ¾, decided → 0."""
    logits = torch.tensor([0.0, math.log(3), -math.log(3), 60.0]).view(1, 1, 2, 2)
    assert uncertainty_loss(logits).item() == pytest.approx((1 + 0.75 + 0.75 + 0) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_edge_target_is_dilation_minus_erosion_up_to_the_border(seed):
    """Outside the image there is neither object nor background: no edge runs along the border itself."""
    masks = np.random.default_rng(seed).random((2, 17, 23)) < 0.7
    masks = ndimage.binary_dilation(masks, np.ones((1, 3, 3))) if seed else masks
    expected = np.zeros(masks.shape)
    for n, mask in enumerate(masks.astype(int)):
        dilated = ndimage.grey_dilation(mask, (3, 3), mode="constant", cval=0)
        expected[n] = dilated - ndimage.grey_erosion(mask, (3, 3), mode="constant", cval=1)
    assert np.array_equal(edge_target(torch.from_numpy(masks).float()[:, None])[:, 0].numpy(), expected)
    assert not edge_target(torch.ones(1, 1, 5, 6)).any()


# The sum over the stages


def _small(size: int, stride: int) -> int:
    return -(-size // stride)


def _up(logits: Tensor, stride: int) -> Tensor:
    if stride == 1:
        return logits
    return F.interpolate(logits, scale_factor=stride, mode="bilinear", align_corners=False)[..., : SIZE[0], : SIZE[1]]


def _down(x: Tensor, stride: int) -> np.ndarray:
    """Means of stride×stride cells, the border repeated."""
    bottom, right = -SIZE[0] % stride, -SIZE[1] % stride
    padded = np.pad(x.double().numpy(), ((0, 0), (0, 0), (0, bottom), (0, right)), mode="edge")
    rows, columns = padded.shape[-2] // stride, padded.shape[-1] // stride
    return padded.reshape(*padded.shape[:2], rows, stride, columns, stride).mean((3, 5))


def _output(stride: int, stages: int = 3, batch: int = 2) -> RUNOutput:
    size = tuple(_small(side, stride) for side in SIZE)

    def stage() -> StageOutput:
        logits = torch.randn(batch, 1, *size)
        return StageOutput(
            mask_hat=torch.rand(batch, 1, *size),
            mask_logits=logits,
            mask=logits.sigmoid(),
            edge_logits=torch.randn(batch, 1, *size),
            background=torch.rand(batch, 3, *size),
            reconstruction=torch.rand(batch, 3, *size),
            residual=torch.zeros(batch, 1, *size),
        )

    made = tuple(stage() for _ in range(stages))
    return RUNOutput(_up(made[-1].mask_logits, stride), torch.randn(batch, 1, *size), made)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("stages", [1, 3])
def test_every_term_is_the_weighted_sum_over_stages(stride, stages):
    """M_0 … M_K weigh 2^−K … 1, and so do E, Ĉ and B of stages 1 … K."""
    output, image, target = _output(stride, stages), torch.rand(2, 3, *SIZE), _targets()
    terms = StagewiseLoss(edge=0.5, reconstruction=2.0, background=3.0, uncertainty=4.0)(output, image, target)

    small_image, small_target = _down(image, stride), _down(target, stride)
    edges = edge_target(target)
    expected = {"structure": 2.0**-stages * _numpy_structure(_up(output.coarse_logits, stride), target)}
    for name in ("edge", "reconstruction", "background"):
        expected[name] = 0.0
    for k, stage in enumerate(output.stages, start=1):
        weight = 2.0 ** (k - stages)
        edge_logits = _up(stage.edge_logits, stride)
        empty = np.abs(stage.background.numpy() - (1 - small_target) * small_image)
        expected["structure"] += weight * _numpy_structure(_up(stage.mask_logits, stride), target)
        expected["edge"] += weight * 0.5 * dice_loss(edge_logits, edges).item()
        expected["reconstruction"] += weight * 2.0 * float(((stage.reconstruction.numpy() - small_image) ** 2).mean())
        expected["background"] += weight * 3.0 * float(empty.mean())
    expected["uncertainty"] = 4.0 * uncertainty_loss(output.mask_logits).item()
    expected["loss"] = sum(expected.values())
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stride", [1, 4])
def test_true_background_and_reconstruction_cost_nothing(stride):
    output, image, target = _output(stride, 1), torch.rand(2, 3, *SIZE), _targets()
    small_image, small_target = (torch.from_numpy(_down(x, stride)).float() for x in (image, target))
    ideal = output.stages[0]._replace(reconstruction=small_image, background=(1 - small_target) * small_image)
    terms = StagewiseLoss(background=1.0)(output._replace(stages=(ideal,)), image, target)
    assert terms["reconstruction"] < 1e-12
    assert terms["background"] < 1e-6


def test_the_mask_of_a_later_stage_weighs_twice_as_much():
    """Read off the gradients, with the same logits in every stage."""
    output, image, target = _output(1, 3), torch.rand(2, 3, *SIZE), _targets()
    shared = output.coarse_logits
    leaves = [shared.clone().requires_grad_() for _ in range(4)]
    stages = tuple(stage._replace(mask_logits=leaf) for stage, leaf in zip(output.stages, leaves[1:], strict=True))
    loss = StagewiseLoss()(RUNOutput(leaves[3], leaves[0], stages), image, target)["loss"]
    norms = [grad.norm().item() for grad in torch.autograd.grad(loss, leaves)]
    assert [norm / norms[-1] for norm in norms] == pytest.approx([1 / 8, 1 / 4, 1 / 2, 1], rel=1e-5)
    without = StagewiseLoss(coarse=0)(RUNOutput(leaves[3], leaves[0], stages), image, target)["loss"]
    first, *others = torch.autograd.grad(without, leaves, allow_unused=True)
    assert first is None
    assert [grad.norm().item() for grad in others] == norms[1:]


def test_terms_that_are_off_or_have_nothing_to_read_are_absent():
    output, image, target = _output(4), torch.rand(2, 3, *SIZE), _targets()
    assert set(StagewiseLoss()(output, image, target)) == {"loss", "structure", "edge", "reconstruction"}
    assert set(StagewiseLoss(edge=0, reconstruction=0)(output, image, target)) == {"loss", "structure"}
    bare = tuple(stage._replace(edge_logits=None, reconstruction=None) for stage in output.stages)
    assert set(StagewiseLoss(background=1.0)(output._replace(stages=bare), image, target)) == {"loss", "structure"}


def test_a_network_without_stages_gets_the_structure_loss_alone():
    target = _targets()
    output = MaskOutput(torch.randn(2, 1, *SIZE))
    terms = StagewiseLoss(background=1.0)(output, torch.rand(2, 3, *SIZE), target)
    assert set(terms) == {"loss", "structure"}
    assert terms["loss"] == terms["structure"] == structure_loss(output.mask_logits, target)


@pytest.mark.parametrize(
    ("progress", "ramp"), [(0, 0), (0.25, (1 - math.sqrt(0.5)) / 2), (0.5, 0.5), (1, 1), (1.5, 1), (-0.5, 0)]
)
def test_uncertainty_comes_in_along_a_cosine(progress, ramp):
    output = MaskOutput(torch.randn(2, 1, *SIZE))
    terms = StagewiseLoss(uncertainty=2.0)(output, torch.rand(2, 3, *SIZE), _targets(), progress)
    full = 2.0 * uncertainty_loss(output.mask_logits).item()
    assert terms["uncertainty"].item() == pytest.approx(ramp * full, abs=1e-7)
    assert terms["loss"].item() == pytest.approx((terms["structure"] + terms["uncertainty"]).item())


def _alone(output: RUNOutput, n: int) -> RUNOutput:
    stages = tuple(StageOutput(*(x[n : n + 1] for x in stage)) for stage in output.stages)
    return RUNOutput(output.mask_logits[n : n + 1], output.coarse_logits[n : n + 1], stages)


@pytest.mark.parametrize("stride", [1, 4])
def test_the_loss_of_a_batch_is_the_mean_of_its_images(stride):
    """Objects of very different size: sums over the batch would let the largest one decide."""
    output, image, target = _output(stride, batch=3), torch.rand(3, 3, *SIZE), _targets(3)
    loss = StagewiseLoss(background=1.0, uncertainty=2.0)
    together = loss(output, image, target)
    singles = [loss(_alone(output, n), image[n : n + 1], target[n : n + 1]) for n in range(3)]
    assert {name: term.item() for name, term in together.items()} == pytest.approx(
        {name: sum(terms[name].item() for terms in singles) / 3 for name in together}, rel=1e-5
    )


def test_negative_weights_are_told_all_at_once():
    with pytest.raises(UserError, match=r"loss\.edge=-1\.0: must be 0 or more\nloss\.coarse=-2\.0"):
        StagewiseLoss(edge=-1.0, coarse=-2.0)


# Ignored pixels


def _ignored() -> Tensor:
    valid = torch.ones(2, 1, *SIZE)
    valid[0, :, 5:14, 8:20] = 0
    valid[1, :, :, :6] = 0
    return valid


def _all_terms(output: RUNOutput, image: Tensor, target: Tensor, valid: Tensor | None) -> dict[str, Tensor]:
    return StagewiseLoss(background=1.0, uncertainty=1.0)(output, image, target, valid=valid)


@pytest.mark.parametrize("stride", [1, 4])
def test_with_nothing_ignored_every_term_is_as_without(stride):
    output, image, target = _output(stride), torch.rand(2, 3, *SIZE), _targets()
    plain, valid = (_all_terms(output, image, target, valid) for valid in (None, torch.ones_like(target)))
    assert {name: term.item() for name, term in valid.items()} == pytest.approx(
        {n: t.item() for n, t in plain.items()}, rel=1e-5
    )


@pytest.mark.parametrize("stride", [1, 4])
def test_no_term_reads_the_truth_of_an_ignored_pixel(stride):
    output, image, target, valid = _output(stride), torch.rand(2, 3, *SIZE), _targets(), _ignored()
    other = torch.where(valid > 0, target, 1 - target)
    first, second = (_all_terms(output, image, truth, valid) for truth in (target, other))
    assert {name: term.item() for name, term in first.items()} == {name: term.item() for name, term in second.items()}
    assert first["structure"] != _all_terms(output, image, target, None)["structure"]


def test_an_ignored_pixel_of_the_mask_is_never_moved():
    output, image, target, valid = _output(1), torch.rand(2, 3, *SIZE), _targets(), _ignored()
    leaves = [output.mask_logits.clone().requires_grad_(), output.stages[0].edge_logits.clone().requires_grad_()]
    background = output.stages[0].background.clone().requires_grad_()
    stages = (output.stages[0]._replace(edge_logits=leaves[1], background=background), *output.stages[1:])
    loss = _all_terms(output._replace(mask_logits=leaves[0], stages=stages), image, target, valid)
    mask, edge = torch.autograd.grad(loss["structure"] + loss["uncertainty"] + loss["edge"], leaves)
    (empty,) = torch.autograd.grad(loss["background"], [background])
    for gradient in (mask, edge, empty):
        assert not gradient[(valid == 0).expand_as(gradient)].any()
        assert gradient[(valid > 0).expand_as(gradient)].any()


def test_the_window_at_the_boundary_counts_its_valid_pixels_alone():
    """A constant truth has no boundary, whatever is ignored; there would be one if ignored pixels counted as zeros."""
    target, valid = torch.ones(1, 1, 80, 80), torch.ones(1, 1, 80, 80)
    valid[..., 38:44] = 0
    weight = boundary_weight(target, valid)
    assert weight[0, 0, 40, 20:38].tolist() == pytest.approx([1.0] * 18)
    assert not weight[..., 38:44].any()


def test_an_image_that_is_ignored_altogether_adds_nothing_and_no_nan():
    output, image, target = _output(1), torch.rand(2, 3, *SIZE), _targets()
    logits = output.mask_logits.clone().requires_grad_()
    loss = _all_terms(output._replace(mask_logits=logits), image, target, torch.zeros_like(target))["loss"]
    assert torch.isfinite(loss)
    assert not torch.autograd.grad(loss, logits)[0].any()
