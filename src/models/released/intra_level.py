"""IAF: a shared block that mixes two receptive fields within one level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.released.blocks import conv


class IntraLevelFusion(nn.Module):
    """IAF (released code): a = c + BN(ReLU(conv[t, v, w])).

    c is a 1×1 convolution of e, t and v are a 3×3 and a 5×5 convolution of c, and w is the product of a 3×3 and a 5×5
    convolution of [t, v].

    Args:
        channels: C, of the input and the output.

    ``forward``: e (N,C,H,W) → a (N,C,H,W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, channels)
        self.conv3 = conv(channels, channels, 3)
        self.conv5 = conv(channels, channels, 5)
        self.conv3_2 = conv(2 * channels, channels, 3)
        self.conv5_2 = conv(2 * channels, channels, 5)
        self.crb = nn.Sequential(conv(3 * channels, channels, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(channels))

    def forward(self, e: Tensor) -> Tensor:
        """Return the fused map of a level, in the size of ``e``."""
        c = self.conv1(e)
        fields = torch.cat([self.conv3(c), self.conv5(c)], 1)
        fields = torch.cat([fields, self.conv3_2(fields) * self.conv5_2(fields)], 1)
        return c + self.crb(fields)
