"""U and ∇S on tokens of 4 × 4 pixels, with weights of usual size.

Their last layers start near zero, so that an untrained network would hide mistakes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from src.inference.export.trace import IMAGE, traced_graph
from src.models.gradient_checkpointing import call_checkpointed
from src.models.outputs import MaskOutput
from src.models.resample import pad_to_multiple
from src.models.robe import ROBE, BackgroundNetwork, background_step
from src.models.sofs import MaskStep, ResidualGradient

ODD = (45, 50)


def _awake(net: nn.Module) -> nn.Module:
    """Give all layers weights of usual size, and biases."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)) and layer.bias is not None:
            nn.init.normal_(layer.bias, std=0.1)
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return net


def _network(name: str) -> nn.Module:
    return _awake(BackgroundNetwork((4, 6, 8)) if name == "U" else ResidualGradient(3, 8, "space_to_depth")).eval()


def _maps(net: nn.Module, mask: Tensor, image: Tensor) -> Tensor:
    """The network's map of a mask (N,1,H,W) and an image (N,3,H,W); B̂ is what the mask leaves of the image."""
    return net(mask, (1 - mask) * image, image) if isinstance(net, BackgroundNetwork) else net(mask)


def _inputs(count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    return torch.rand(count, 1, *size), torch.rand(count, 3, *size)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), ODD, (48, 18)])
@pytest.mark.parametrize(("name", "multiple"), [("U", 16), ("∇S", 4)])
def test_the_map_of_an_odd_image_is_that_of_the_padded_one(name, multiple, size):
    """Rows and columns are added at the bottom and the right, and the map loses the same ones."""
    net, inputs = _network(name), _inputs(1, size)
    with torch.no_grad():
        found, whole = _maps(net, *inputs), _maps(net, *(pad_to_multiple(x, multiple) for x in inputs))
    assert found.shape == (1, 3 if name == "U" else 1, *size)
    assert found.abs().max() > 1e-2
    torch.testing.assert_close(found, whole[..., : size[0], : size[1]])


@pytest.mark.parametrize("name", ["U", "∇S"])
def test_a_mirrored_image_gives_the_mirrored_map_of_mirrored_weights(name):
    """So no map is moved against its pixels, by half a pixel either."""
    net, inputs = _network(name), _inputs(1, (48, 64))
    with torch.no_grad():
        expected = _maps(net, *inputs).flip(2, 3)
        for layer in net.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.copy_(layer.weight.flip(2, 3))
        found = _maps(net, *(x.flip(2, 3) for x in inputs))
    assert (expected - expected.flip(2, 3)).abs().max() > 1e-2
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("reads_image", "scaled"), [(True, "image"), (False, "background")])
def test_u_scales_the_pixels_that_it_reads(reads_image, scaled):
    """U = d·C, or d·B̂ without C: one number d for the three colours of a pixel."""
    net = _awake(BackgroundNetwork((4, 6, 8), reads_image)).eval()
    mask, image = _inputs(1, ODD)
    given = {"mask": mask, "background": 0.1 + torch.rand_like(image), "image": 0.1 + image}
    with torch.no_grad():
        factor = net(**given) / given[scaled]
    assert factor.abs().max() > 1e-2
    torch.testing.assert_close(factor, factor[:, :1].expand_as(factor), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["U", "∇S"])
def test_an_image_does_not_depend_on_its_batch_mates(name):
    net, (masks, images) = _network(name), _inputs(3, ODD)
    with torch.no_grad():
        together = _maps(net, masks, images)
        alone = torch.cat([_maps(net, mask[None], image[None]) for mask, image in zip(masks, images, strict=True)])
    assert (together[0] - together[1]).abs().max() > 1e-2
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def _parts(size: tuple[int, int] = ODD) -> dict[str, tuple[nn.Module, tuple[Tensor, ...]]]:
    """ROBE and a mask step in training mode with awake networks, and what each reads."""
    mask, image = _inputs(2, size)
    background, previous = torch.rand_like(image), torch.rand_like(mask)
    return {
        "U": (_awake(ROBE(widths=(4, 6, 8))), (image, mask, background)),
        "∇S": (_awake(MaskStep(residual_width=8)), (image, background, mask, previous)),
    }


def _gradients(call: Callable[..., tuple[Tensor, Tensor]], part: nn.Module, given: tuple[Tensor, ...]) -> list[Tensor]:
    """The gradient of every parameter and every input, of the mean square of the first result."""
    leaves = [x.clone().requires_grad_() for x in given]
    return list(torch.autograd.grad(call(part, *leaves)[0].square().mean(), [*part.parameters(), *leaves]))


@pytest.mark.parametrize("name", ["U", "∇S"])
def test_gradient_checkpointing_gives_the_same_gradients_and_statistics(name):
    part, given = _parts()[name]
    before = {key: value.clone() for key, value in part.state_dict().items()}
    plain, after = _gradients(nn.Module.__call__, part, given), {k: v.clone() for k, v in part.state_dict().items()}
    part.load_state_dict(before)
    saving = _gradients(call_checkpointed, part, given)
    assert all(gradient.abs().max() > 0 for gradient in plain)
    for expected, found in zip(plain, saving, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-4)
    for key, value in part.state_dict().items():
        assert torch.equal(value, after[key]), key


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["U", "∇S"])
def test_half_precision_stays_close(name, half):
    part, given = _parts()[name]
    exact, gradients = part(*given), _gradients(nn.Module.__call__, part, given)
    with torch.autocast("cpu", half):
        found, learned = part(*given), _gradients(nn.Module.__call__, part, given)
    for value, expected in zip(found, exact, strict=True):
        assert value.dtype == torch.float32
        assert (value - expected).abs().mean() < 0.01
    exact_all, half_all = (torch.cat([gradient.flatten() for gradient in one]) for one in (gradients, learned))
    assert half_all.isfinite().all()
    assert (half_all - exact_all).norm() < 0.2 * exact_all.norm()


def test_an_untrained_network_leaves_both_closed_forms_almost_as_they_are():
    """With the default widths: B_k is B̂_k, and M̂_k is the mask step without ∇S."""
    (mask, image), previous = _inputs(2, ODD), torch.rand(2, 1, *ODD)
    background, robe, step = (1 - mask) * image, ROBE(), MaskStep()
    with torch.no_grad():
        found, _ = robe(image, mask, background)
        assert 0 < (found - background_step(image, mask, background, robe.lam())).abs().max() < 0.02
        masks = [step(image, background, mask, previous)[0]]
        nn.init.zeros_(step.scale)
        masks.append(step(image, background, mask, previous)[0])
    assert 0 < (masks[0] - masks[1]).abs().max() < 0.02


class _Both(nn.Module):
    """A network whose logits are what U and ∇S make of an image; its mask is the image's first colour."""

    def __init__(self) -> None:
        super().__init__()
        self.repair, self.slope = _network("U"), _network("∇S")

    def forward(self, image: Tensor) -> MaskOutput:
        mask = image[:, :1]
        return MaskOutput(_maps(self.repair, mask, image).sum(1, keepdim=True) + _maps(self.slope, mask, image))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("side", "shapes"), [(45, [(1, 3, 45, 45)]), (None, [(1, 3, 32, 32), (3, 3, 96, 64)])], ids=["odd", "any"]
)
def test_an_exported_network_writes_the_same_maps(side, shapes):
    net = _Both().eval()
    graph = traced_graph(net, side, None if side is None else 1).SerializeToString()
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    for shape in shapes:
        image = torch.rand(shape)
        (found,) = session.run(None, {IMAGE: image.numpy()})
        with torch.no_grad():
            expected = net(image).mask_logits.numpy()
        assert expected.std() > 1e-2
        np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)
