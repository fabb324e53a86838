"""Blocks that the released modules share: Conv-BN-ReLU under the authors' names, and their bilinear resizing."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from src.models.released.fourier import FourierConv2d

Size = tuple[int, int]


class ConvBNReLU(nn.Module):
    """Convolution without bias → BatchNorm → ReLU, (N,in_channels,H,W) → (N,out_channels,⌈H/stride⌉,⌈W/stride⌉).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: height and width of the kernel, both odd.
        dilation: spacing of the kernel's taps along both sides.
        stride: step of the kernel along both sides.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int | Size = 1, dilation: int = 1, stride: int = 1
    ) -> None:
        super().__init__()
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = (dilation * (height // 2), dilation * (width // 2))
        kind = FourierConv2d if (height, width, stride, dilation) == (3, 3, 1, 1) else nn.Conv2d
        self.conv = kind(in_channels, out_channels, (height, width), stride, padding, dilation, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the non-negative output map."""
        return F.relu(self.bn(self.conv(x)), inplace=True)


def conv(in_channels: int, out_channels: int, kernel_size: int = 1, bias: bool = True) -> nn.Conv2d:
    """Return a convolution that keeps the size, with a bias by default."""
    kind = FourierConv2d if kernel_size in (3, 5) else nn.Conv2d
    return kind(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=bias)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """Resize ``x`` to the size of ``like``, bilinearly with ``align_corners=True``, as the authors between levels."""
    return (
        x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=True)
    )
