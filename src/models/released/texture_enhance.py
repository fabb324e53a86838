"""ETM, texture enhancement: one encoder level reduced to C channels over four receptive fields."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.released.blocks import ConvBNReLU


class TextureEnhance(nn.Module):
    """ETM (released code): e = ReLU(conv_cat[branch0, …, branch3] + conv_res(x)).

    Branch 0 is a 1×1 convolution; branch i = 1, 2, 3 has a row and a column kernel of length 2i+1 and a 3×3 kernel with
    dilation 2i+1.

    Args:
        in_channels: channels of the encoder level x.
        channels: C.

    ``forward``: (N,in_channels,H,W) → (N,C,H,W).
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.branch0 = ConvBNReLU(in_channels, channels)
        self.branch1, self.branch2, self.branch3 = (_branch(in_channels, channels, length) for length in (3, 5, 7))
        self.conv_cat = ConvBNReLU(4 * channels, channels, 3)
        self.conv_res = ConvBNReLU(in_channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the enhanced feature, at the size of ``x``."""
        joined = torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], 1)
        return (self.conv_cat(joined) + self.conv_res(x)).relu()


def _branch(in_channels: int, channels: int, length: int) -> nn.Sequential:
    return nn.Sequential(
        ConvBNReLU(in_channels, channels),
        ConvBNReLU(channels, channels, (1, length)),
        ConvBNReLU(channels, channels, (length, 1)),
        ConvBNReLU(channels, channels, 3, dilation=length),
    )
