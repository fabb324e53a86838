"""Small building blocks that several parts of the network share."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from src.models.checks import Expectation
from src.models.resample import upsample

POSITIVE_FLOOR = 1e-3
Resolution = Literal["pixel", "space_to_depth"]
"""Where a small network of the unfolding convolves: on pixels, or on tokens that stand for 4 × 4 pixels each."""
TOKEN = 4
"""Side of a token in pixels."""


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """Return convolution (same size, no bias) → BatchNorm → ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def to_tokens(in_channels: int, out_channels: int) -> nn.Conv2d:
    """Return space to depth and a 1×1 convolution in one: (N,C,H,W) → (N,out,H/4,W/4)."""
    return nn.Conv2d(in_channels, out_channels, TOKEN, stride=TOKEN)


class FromTokens(nn.Conv2d):
    """A 1×1 convolution of tokens, near zero at the start, enlarged bilinearly: (N,C,h,w) → (N,out,4h,4w).

    Depth to space, where each pixel of a token has weights of its own, draws a pattern of 4 × 4 pixels into the mask
    (method.md 3.3).
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)
        near_zero(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return a smooth map, a pixel for each pixel of the tokens."""
        return upsample(super().forward(x), TOKEN, (TOKEN * x.shape[-2], TOKEN * x.shape[-1]))


def near_zero(layer: nn.Conv2d) -> None:
    """Initialise the last layer of a small network so that it hardly changes anything, but has gradients."""
    nn.init.normal_(layer.weight, std=1e-3)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]


class PositiveScalar(nn.Module):
    """A learnable number that stays positive: 10⁻³ + exp(θ), so that steps are multiplicative (method.md 3.6).

    Args:
        init: the initial value, above 10⁻³.
    """

    def __init__(self, init: float) -> None:
        super().__init__()
        if init <= POSITIVE_FLOOR:
            raise ValueError(f"init must exceed {POSITIVE_FLOOR}, got {init}")
        self.theta = nn.Parameter(torch.tensor(math.log(init - POSITIVE_FLOOR)))

    def forward(self) -> Tensor:
        """Return the number, a 0-d tensor."""
        return POSITIVE_FLOOR + self.theta.exp()


def above_floor(**settings: float) -> list[Expectation]:
    """Expect numbers that a :class:`PositiveScalar` can start from."""
    return [
        Expectation(name, value, value > POSITIVE_FLOOR, f"more than {POSITIVE_FLOOR}")
        for name, value in settings.items()
    ]
