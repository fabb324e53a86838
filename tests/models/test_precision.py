"""Mixed precision: scan, divisions, losses and the measures' inputs stay float32, and the result stays close to it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

import src.losses
import src.models.robe
import src.models.run
import src.models.sofs
import src.models.vss
import src.module
from src.losses import StagewiseLoss, boundary_weight, dice_loss, structure_loss, uncertainty_loss
from src.models.outputs import masks_at_size
from src.models.robe import background_step
from src.models.sofs import mask_step, reversed_mask
from src.models.vss import DilatedDepthwise
from src.train import train
from tests.fixtures.tiny import ONE_BATCH_OVERRIDES, tiny_quickstart

HALVES = [torch.bfloat16, torch.float16]
WATCHED = {
    "selective_scan": src.models.vss,
    "_minimiser": src.models.sofs,
    "reversed_mask": src.models.run,
    "background_step": src.models.robe,
    "structure_loss": src.losses,
    "dice_loss": src.losses,
    "uncertainty_loss": src.losses,
}


def _watch(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[torch.dtype]]:
    """Name of each watched function → types of all floating-point numbers that go in and out."""
    seen: dict[str, set[torch.dtype]] = {name: set() for name in WATCHED}

    def spied(name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def spy(*args: Any, **kwargs: Any) -> Tensor:
            result = function(*args, **kwargs)
            tensors = [x for x in (*args, *kwargs.values(), result) if isinstance(x, Tensor)]
            seen[name] |= {x.dtype for x in tensors if x.is_floating_point()}
            return result

        return spy

    for name, module in WATCHED.items():
        monkeypatch.setattr(module, name, spied(name, getattr(module, name)))
    return seen


@pytest.mark.parametrize("half", HALVES)
def test_a_training_step_under_autocast(half, make_run, monkeypatch):
    """The encoder keeps float32 here: a random one amplifies bf16's rounding into entirely different features."""
    net = make_run("lcnet_050", unfold_stride=4)
    encode = net.encoder.forward

    def encode_in_full(image: Tensor) -> dict[int, Tensor]:
        with torch.autocast("cpu", enabled=False):
            return encode(image)

    monkeypatch.setattr(net.encoder, "forward", encode_in_full)
    seen = _watch(monkeypatch)
    image, target = torch.rand(2, 3, 97, 131), (torch.rand(2, 1, 97, 131) < 0.3).float()
    results = []
    for context in (nullcontext(), torch.autocast("cpu", half)):
        net.zero_grad()
        with context:
            output = net(image)
            loss = StagewiseLoss(background=0.5, uncertainty=1.0)(output, image, target)["loss"]
        loss.backward()
        results.append((output, loss.detach(), torch.cat([p.grad.flatten() for p in net.parameters()])))
    (exact, loss, gradient), (output, loss_half, gradient_half) = results
    assert seen == {name: {torch.float32} for name in WATCHED}
    assert {x.dtype for stage in output.stages for x in stage if x is not None} == {torch.float32}
    for k, (stage, expected) in enumerate(zip(output.stages, exact.stages, strict=True)):
        for name, value in stage._asdict().items():
            if name in ("mask", "mask_hat", "background", "reconstruction"):
                assert (value - getattr(expected, name)).abs().mean() < 0.01, (k, name)
    assert loss_half.item() == pytest.approx(loss.item(), rel=1e-2)
    assert gradient_half.isfinite().all()
    assert (gradient_half - gradient).norm() < 0.2 * gradient.norm()


@pytest.mark.parametrize("half", HALVES)
def test_the_dilated_depthwise_convolution_learns_in_half_precision(half):
    """oneDNN's bf16 gradient of these weights is wrong on a CPU, and differs from call to call."""
    layer = DilatedDepthwise(24)
    image = torch.randn(2, 24, 25, 33).contiguous(memory_format=torch.channels_last)
    (exact,) = torch.autograd.grad(layer(image).square().sum(), layer.weight)
    for _ in range(5):
        with torch.autocast("cpu", half):
            (gradient,) = torch.autograd.grad(layer(image.to(half)).float().square().sum(), layer.weight)
        assert (gradient - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("half", HALVES)
def test_losses_of_half_inputs_are_computed_in_float32(half):
    """352² pixels: a sum of the weights alone is beyond fp16's largest number, 65504."""
    logits, target = (4 * torch.randn(1, 1, 352, 352)).to(half), (torch.rand(1, 1, 352, 352) < 0.4).to(half)
    assert boundary_weight(target).sum() > 65504
    for loss in (structure_loss, dice_loss):
        assert loss(logits, target).dtype == torch.float32
        assert torch.equal(loss(logits, target), loss(logits.float(), target.float()))
    assert torch.equal(uncertainty_loss(logits), uncertainty_loss(logits.float()))
    (map_,) = masks_at_size(logits, [torch.empty(100, 90)])
    assert (map_.dtype, tuple(map_.shape)) == (torch.float32, (100, 90))


@pytest.mark.parametrize("half", HALVES)
def test_large_numbers_overflow_nowhere(half):
    """Logits of 10⁵, and an image whose squares are beyond fp16's range."""
    image, background = 300 * torch.rand(1, 3, 40, 40) + 300, 300 * torch.rand(1, 3, 40, 40)
    mask, target = torch.rand(1, 1, 40, 40), (torch.rand(1, 1, 40, 40) < 0.4).float()
    with torch.autocast("cpu", half):
        values = [
            structure_loss(1e5 * torch.randn(1, 1, 40, 40), target),
            dice_loss(1e5 * torch.randn(1, 1, 40, 40), target),
            mask_step(image, background, mask, mask, 0.0, torch.tensor(0.01), torch.tensor(0.01)),
            reversed_mask(image, background, mask),
            background_step(image, mask, background, torch.tensor(0.01)),
        ]
    assert {value.dtype for value in values} == {torch.float32}
    assert all(value.isfinite().all() for value in values)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("no_pictures")
def test_the_quickstart_in_bf16(tmp_path):
    """Training, validation, test; checkpoints hold float32 weights."""
    scores = train(tiny_quickstart(tmp_path, *ONE_BATCH_OVERRIDES, "trainer.precision=bf16-mixed"))
    assert 0 < scores["val/s_alpha"] < 1
    assert 0 < scores["test/synthetic/s_alpha"] < 1
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {value.dtype for value in stored.values() if value.is_floating_point()} <= {torch.float32, torch.float64}
