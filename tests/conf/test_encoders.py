"""Every encoder of `conf/encoder` keeps the promises of a pyramid encoder, with random weights and small images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from src.cli.command import CONF
from src.models.encoder import STRIDES, PyramidEncoder
from tests.fixtures.tiny import config

BIG = {"pvt_v2_b4", "swin_base"}
ENCODERS = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in BIG else [])
    for path in sorted((Path(CONF) / "encoder").glob("*.yaml"))
    if path.stem != "base"
]
SIZE = (65, 47)


@pytest.mark.parametrize("name", ENCODERS)
def test_shipped_encoder(name):
    """Check shapes at an odd size, equal results in channels-last memory, and a gradient for every parameter.

    DDP runs with `find_unused_parameters=false`, so a parameter that no feature depends on would stop it.
    """
    settings = config("train", f"encoder={name}").encoder
    assert settings.weights in ("imagenet", "pypi")
    encoder: PyramidEncoder = instantiate(settings, weights=None).eval()
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d) and not norm.weight.any():
            nn.init.ones_(norm.weight)  # ResNet's branches start with scale 0
    image = torch.rand(1, 3, *SIZE)
    pyramid = encoder(image)
    expected = {s: (1, encoder.channels[s], -(-SIZE[0] // s), -(-SIZE[1] // s)) for s in STRIDES}
    assert {stride: tuple(feature.shape) for stride, feature in pyramid.items()} == expected
    torch.stack([(feature * torch.randn_like(feature)).mean() for feature in pyramid.values()]).sum().backward()
    assert [name for name, p in encoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert sum(bool(p.grad.any()) for p in encoder.parameters()) > 0.9 * len(list(encoder.parameters()))
    with torch.no_grad():
        last = encoder.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    for stride in STRIDES:
        torch.testing.assert_close(
            last[stride], pyramid[stride], rtol=1e-3, atol=1e-3 * pyramid[stride].detach().abs().max().item()
        )
