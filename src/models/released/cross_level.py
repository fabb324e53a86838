"""CAF: a shared block that brings a coarser map into a finer level, through channel and spatial attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.released.blocks import conv, resized

REDUCTION = 16
SPATIAL_KERNEL = 7


class ChannelAttention(nn.Module):
    """z · σ(fc(mean z) + fc(max z)), with mean and maximum over the positions; (N,C,H,W) → the same shape.

    Args:
        channels: C, at least ``REDUCTION``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.fc = nn.Sequential(
            conv(channels, hidden, bias=False), nn.ReLU(inplace=True), conv(hidden, channels, bias=False)
        )

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z`` weighted channel by channel."""
        mean, largest = z.mean((2, 3), keepdim=True), z.amax((2, 3), keepdim=True)
        return z * (self.fc(mean) + self.fc(largest)).sigmoid()


class SpatialAttention(nn.Module):
    """z · σ(conv[mean z, max z]), with mean and maximum over the channels; (N,C,H,W) → the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = conv(2, 1, SPATIAL_KERNEL, bias=False)

    def forward(self, z: Tensor) -> Tensor:
        """Return ``z`` weighted position by position."""
        return z * self.conv(torch.cat([z.mean(1, keepdim=True), z.amax(1, keepdim=True)], 1)).sigmoid()


class CrossLevelFusion(nn.Module):
    """CAF (released code): conv_final[a, z], where z is the attended convolution of [y resized to a, a].

    Args:
        channels: C, of both inputs and the output.

    ``forward``: y (N,C,H/2,W/2) and a (N,C,H,W) → (N,C,H,W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv3 = conv(2 * channels, channels, 3)
        self.channel_attention = ChannelAttention(channels)
        self.spatial_attention = SpatialAttention()
        self.conv_final = conv(2 * channels, channels)

    def forward(self, coarser: Tensor, level: Tensor) -> Tensor:
        """Return ``level`` fused with the coarser map, at the size of ``level``."""
        z = self.conv3(torch.cat([resized(coarser, level), level], 1))
        z = self.spatial_attention(self.channel_attention(z))
        return self.conv_final(torch.cat([level, z], 1))
