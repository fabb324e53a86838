"""The Fourier convolution equals the plain one, which gradients, other precisions, small maps and traces get."""

from __future__ import annotations

import pytest
import torch

from src.models.released import fourier
from src.models.released.fourier import FourierConv2d
from src.utils.private import can_transform


@pytest.fixture
def layer() -> FourierConv2d:
    return FourierConv2d(64, 64, 3, padding=1).eval()


@pytest.mark.skipif(not can_transform(), reason="this torch, or this processor, has no NNPACK")
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(48, 48), (50, 61)])
def test_it_is_the_convolution_in_float64(kernel, size, monkeypatch):
    layer = FourierConv2d(64, 72, kernel, padding=kernel // 2).eval()
    called = []
    monkeypatch.setattr(fourier, "transformed_convolution", lambda *a: called.append(a) or fourier_of(*a))
    x = torch.randn(2, 64, *size)
    with torch.no_grad():
        got = layer(x)
        weight, bias = layer.weight.double(), layer.bias.double()
        expected = torch.nn.functional.conv2d(x.double(), weight, bias, padding=kernel // 2)
    assert len(called) == 2  # an image at a time
    assert got.shape == (2, 72, *size)
    assert (got - expected).abs().max() < 1e-5 * expected.abs().max()


fourier_of = fourier.transformed_convolution


def test_gradients_other_precisions_small_maps_and_traces_see_a_plain_convolution(layer, monkeypatch):
    monkeypatch.setattr(fourier, "transformed_convolution", lambda *_: pytest.fail("transformed"))
    image = torch.randn(1, 64, 48, 48)
    layer(image).sum().backward()
    assert layer.weight.grad is not None
    with torch.no_grad():
        layer(image[..., :40])
        layer.double()(image.double())
        layer.float()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(image)
        torch.jit.trace(layer, image, check_trace=False)  # the check would run it untraced
