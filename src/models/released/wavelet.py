"""FEDER's wavelet branches: one Haar band of every level, fused from coarse to fine by guided filters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.released.blocks import conv

Band = Literal["LL", "HH"]

NORM_EPS = 1e-5
STATISTIC_WIDTH = 16
WINDOW = 5
"""Side of the guided filter's window; maps must be larger."""
WEIGHT_FLOOR, FILTER_EPS = 1e-12, 1e-2


def haar_band(e: Tensor, band: Band) -> Tensor:
    """Return a band of the Haar transform, (N,C,H,W) → (N,C,H/2,W/2).

    LL is half the sum of each 2×2 cell, HH half the sum of its diagonal minus half that of its antidiagonal.

    >>> haar_band(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), "LL").item()
    5.0
    """
    even, odd = e[..., ::2, :], e[..., 1::2, :]
    sign = 1 if band == "LL" else -1
    return ((even[..., ::2] + odd[..., 1::2]) + sign * (odd[..., ::2] + even[..., 1::2])) / 2


class StatisticFilter(nn.Module):
    """One convolution of a map of means or deviations, with reflected borders; its tensors are named ``conv2d.*``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, padding_mode="reflect"
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the filtered map, in the same shape."""
        return self.conv2d(x)


class ResidualConvolution(nn.Module):
    """ReLU(norm(conv(x))) + x; the norm is InstanceNorm in the low band and BatchNorm in the high band."""

    def __init__(self, channels: int, band: Band) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(channels) if band == "HH" else nn.InstanceNorm2d(channels)
        self.RB = nn.ModuleDict({"conv": conv(channels, channels, 3, bias=False), "bn": norm})

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus its convolution, in the same shape."""
        return self.RB["bn"](self.RB["conv"](x)).relu() + x


class ChannelGate(nn.Module):
    """y · σ(1-D convolution along the channels of y's global mean (low band) or maximum (high band))."""

    def __init__(self, band: Band) -> None:
        super().__init__()
        self.band = band
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, y: Tensor) -> Tensor:
        """Return ``y`` weighted channel by channel."""
        pooled = y.mean((2, 3)) if self.band == "LL" else y.amax((2, 3))
        return y * self.conv(pooled.unsqueeze(1)).sigmoid().transpose(1, 2).unsqueeze(-1)


class SpatialGate(nn.Module):
    """y · σ(two convolutions of y)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sa = nn.Sequential(conv(channels, channels // 4, 3), nn.ReLU(inplace=True), conv(channels // 4, 1, 3))

    def forward(self, y: Tensor) -> Tensor:
        """Return ``y`` weighted position by position."""
        return y * self.sa(y).sigmoid()


class Gates(nn.Module):
    """The channel gate, then the spatial one."""

    def __init__(self, channels: int, band: Band) -> None:
        super().__init__()
        self.CA = ChannelGate(band)
        self.SA = SpatialGate(channels)

    def forward(self, y: Tensor) -> Tensor:
        """Return ``y`` after both gates."""
        return self.SA(self.CA(y))


class AttentiveResidual(nn.Module):
    """ARB: a gated residual convolution.

    In the low band the map is first standardised over its channels; mean and deviation are filtered and put back later.

    ``forward``: (N,C,H,W) → the same shape.
    """

    def __init__(self, channels: int, band: Band) -> None:
        super().__init__()
        self.band = band
        self.RB = ResidualConvolution(channels, band)
        self.AM = Gates(channels, band)
        if band == "LL":
            width = STATISTIC_WIDTH
            for name in ("mean", "std"):
                for number, shape in enumerate(((1, width, 1), (width, width, 3), (width, 1, 1)), start=1):
                    self.add_module(f"{name}_conv{number}", StatisticFilter(*shape))

    def forward(self, x: Tensor) -> Tensor:
        """Return the gated map, in the shape of ``x``."""
        if self.band == "HH":
            return self.AM(self.RB(x))
        variance, mean = torch.var_mean(x, 1, keepdim=True)
        deviation = (variance + NORM_EPS).sqrt()
        gated = self.AM(self.RB((x - mean) / deviation))
        return gated * self._filtered(deviation, "std") + self._filtered(mean, "mean")

    def _filtered(self, statistic: Tensor, name: str) -> Tensor:
        for number in (1, 2, 3):
            statistic = self.get_submodule(f"{name}_conv{number}")(statistic)
        return statistic


class GuidedFusion(nn.Module):
    """G: the coarse map fitted locally to the fine map, at its size, by a guided filter weighted by ARB(coarse).

    ``forward``: low (N,C,H/2,W/2), high (N,C,H,W) → (N,C,H,W).
    """

    def __init__(self, channels: int, band: Band) -> None:
        super().__init__()
        self.ARB = AttentiveResidual(channels, band)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return the coarse map ``low`` at the size of the fine map ``high``."""
        half = F.interpolate(high, (high.shape[-2] // 2, high.shape[-1] // 2), mode="bilinear", align_corners=True)
        return guided_filter(half, low, high, self.ARB(low))


class BandBranch(nn.Module):
    """AGFG (released code): one band of four levels, fused from coarse to fine, at the finest band's size.

    Args:
        channels: C, of every level.
        band: LL or HH.

    ``forward``: e1 … e4, (N,C,H/4,W/4) to (N,C,H/32,W/32) with sides that are multiples of 64 and at least 384 →
    (N,C,H/8,W/8).
    """

    def __init__(self, channels: int, band: Band) -> None:
        super().__init__()
        self.band = band
        self.GF1, self.GF2, self.GF3 = (GuidedFusion(channels, band) for _ in range(3))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Return the fused band of the levels, which are given finest first."""
        *finer, fused = [haar_band(level, self.band) for level in levels]
        for fusion, level in zip((self.GF1, self.GF2, self.GF3), reversed(finer), strict=True):
            fused = fusion(fused, level)
        return fused


def guided_filter(x: Tensor, y: Tensor, fine: Tensor, weight: Tensor) -> Tensor:
    """Return the local linear model y ≈ A x + b applied to the fine map, computed in float64 (FEDER's released code).

    Args:
        x: the guide at the coarse size, (N,C,h,w), sides above ``WINDOW``.
        y: the map that is fitted, (N,C,h,w).
        fine: the guide at the fine size, (N,C,H,W).
        weight: (N,C,h,w); its magnitude is the weight of a pixel. The weights are normalised over the whole batch, so a
            result depends on the other images.

    Returns:
        (N,C,H,W) in the fine map's precision.
    """
    x, y, a, guide = (map_.double() for map_ in (x, y, weight.abs().double() + WEIGHT_FLOOR, fine))
    share = a / a.sum()
    ones = torch.ones_like(x[:1, :1])
    count = F.avg_pool2d(ones, WINDOW, 1, WINDOW // 2, divisor_override=1)
    mean_ax, mean_ay, spread = _window_mean(a * x), _window_mean(a * y), count * _window_mean(share * a * x)
    slope = (_window_mean(a * a * x * y) - spread * mean_ay) / (
        (_window_mean(a * a * x * x) - spread * mean_ax).abs() + FILTER_EPS
    )
    offset = (mean_ay - slope * mean_ax) / _window_mean(a)
    slope, offset = (
        F.interpolate(_window_mean(part), fine.shape[-2:], mode="bilinear", align_corners=True)
        for part in (slope, offset)
    )
    return (slope * guide + offset).to(fine.dtype)


def _window_mean(z: Tensor) -> Tensor:
    """Return the mean over the window around each pixel, without pixels outside the map."""
    return F.avg_pool2d(z, WINDOW, 1, WINDOW // 2, count_include_pad=False)
