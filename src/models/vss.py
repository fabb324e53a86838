"""The visual state-space block: a scan in four directions, then convolutions with channel attention (released code)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.precision import full_precision
from src.ops import selective_scan
from src.ops.precision import without_autocast

Field = Literal["small", "large"]


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (N,C,H,W), token by token."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` normalised, in the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SS2D(nn.Module):
    """Selective scan of a map in four directions: rows and columns, each forwards and backwards.

    Args:
        channels: C of the map.
        d_state: states per channel.
        expand: width of the inner sequence as a multiple of ``channels``.
        dt_init: range of the initial step sizes Δ, log-uniform.

    ``forward``: (N,C,H,W) → (N,C,H,W). Initial values: A is S4D-real (−1 … −d_state), D is 1, Δ's bias is softplus⁻¹ of
    a log-uniform number in ``dt_init``; dt_rank = ⌈C/16⌉. Tokens are laid out by permuting axes, never by `view`.
    """

    directions = 4

    def __init__(
        self, channels: int, d_state: int = 16, expand: int = 2, dt_init: tuple[float, float] = (1e-3, 1e-1)
    ) -> None:
        super().__init__()
        inner, rank = expand * channels, math.ceil(channels / 16)
        self.rank, self.d_state = rank, d_state
        self.in_proj = nn.Conv2d(channels, 2 * inner, 1, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.x_proj = nn.Parameter(torch.empty(self.directions, rank + 2 * d_state, inner))
        self.dt_proj = nn.Parameter(torch.empty(self.directions, inner, rank))
        self.dt_bias = nn.Parameter(torch.empty(self.directions * inner))
        self.A_log = nn.Parameter(torch.arange(1.0, d_state + 1).log().repeat(self.directions * inner, 1))
        self.D = nn.Parameter(torch.ones(self.directions * inner))
        self.norm = LayerNorm2d(inner)
        self.out_proj = nn.Conv2d(inner, channels, 1, bias=False)
        nn.init.uniform_(self.x_proj, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.dt_proj, -(rank**-0.5), rank**-0.5)
        with torch.no_grad():
            low, high = (math.log(bound) for bound in dt_init)
            step = torch.exp(torch.rand_like(self.dt_bias) * (high - low) + low)
            self.dt_bias.copy_(step + torch.log(-torch.expm1(-step)))  # inverse of softplus

    def forward(self, x: Tensor) -> Tensor:
        """Return the scanned map, in the shape of ``x``."""
        x, gate = self.in_proj(x).chunk(2, 1)
        x = self._scan(F.silu(self.conv(x)))
        return self.out_proj(self.norm(x) * F.silu(gate))

    def _scan(self, x: Tensor) -> Tensor:
        """Scan all four directions in one call: tokens stay in place; one projection of the map gives Δ, B and C.

        It runs in float32 even under autocast: Δ is in an exponent, and sums over thousands of tokens exceed the range
        of fp16.
        """
        height, width = x.shape[2:]
        tokens = full_precision(x.flatten(2))
        sizes = [self.rank, self.d_state, self.d_state]
        weights = torch.cat([part.flatten(0, 1) for part in self.x_proj.split(sizes, 1)])
        with without_autocast(x.device):
            projected = F.linear(tokens.mT, weights)
        step, B, C = projected.split([self.directions * size for size in sizes], -1)
        B, C = (part.unflatten(-1, (self.directions, self.d_state)).permute(0, 2, 3, 1) for part in (B, C))
        y = selective_scan(
            tokens,
            step.mT,
            -full_precision(self.A_log).exp(),
            B,
            C,
            self.D,
            self.dt_bias,
            delta_softplus=True,
            delta_proj=self.dt_proj.flatten(0, 1),
            order=four_directions(height, width, x.device),
        )
        return y.unflatten(-1, (height, width))


def four_directions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return a map's token indices along rows, along columns, and both backwards, (4, height·width) int32.

    >>> four_directions(2, 3).tolist()
    [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]
    """
    grid = torch.arange(height * width, dtype=torch.int32, device=device).view(height, width)
    forwards = torch.stack([grid.flatten(), grid.mT.flatten()])
    return torch.cat([forwards, forwards.flip(-1)])


class ChannelAttention(nn.Module):
    """(N,C,H,W) scaled channel by channel: global mean → 1×1 to max(8, C/4) → GELU → 1×1 → sigmoid (our sizes)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = max(8, channels // 4)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, squeezed, 1),
            nn.GELU(),
            nn.Conv2d(squeezed, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` scaled, in the same shape."""
        return x * self.gate(x)


class DilatedDepthwise(nn.Conv2d):
    """Depthwise 3×3 convolution of dilation 2, (N,C,H,W) → (N,C,H,W); on a CPU in float32 even under autocast.

    On a CPU in bf16 and channels_last, oneDNN's gradient of these weights (torch 2.14) reads uninitialised memory;
    errors range from 100 % to a factor of 10¹⁵.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, padding=2, dilation=2, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved map, in the same shape."""
        if x.device.type != "cpu":
            return super().forward(x)
        with without_autocast(x.device):
            return super().forward(full_precision(x))


def channel_attention_block(channels: int, field: Field) -> nn.Sequential:
    """Return CAB: convolutions of a small (3×3, compressed 3-fold) or large (dilated depthwise) field, attention."""
    if field == "small":
        compressed = max(1, channels // 3)
        convolutions: list[nn.Module] = [
            nn.Conv2d(channels, compressed, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(compressed, channels, 3, padding=1),
        ]
    else:
        convolutions = [
            nn.Conv2d(channels, channels, 1),
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 1),
            DilatedDepthwise(channels),
        ]
    return nn.Sequential(*convolutions, ChannelAttention(channels))


def local_mixer(channels: int) -> nn.Sequential:
    """Return the replacement of SS2D when the scan is off: a depthwise 3×3 and a 1×1 convolution of the same width."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, groups=channels), nn.Conv2d(channels, channels, 1))


class VSSBlock(nn.Module):
    """x·a + SS2D(LN(x)), then x·b + CAB(LN(x)); a, b on the identity path are learnable per channel, initially 1.

    Args:
        channels: C.
        field: ``small`` (VSS_s) or ``large`` (VSS_l); they differ in CAB's convolutions.
        scan: False replaces SS2D by :func:`local_mixer`.

    ``forward``: (N,C,H,W) → (N,C,H,W).
    """

    def __init__(self, channels: int, field: Field, scan: bool = True) -> None:
        super().__init__()
        self.norm_mixer = LayerNorm2d(channels)
        self.mixer = SS2D(channels) if scan else local_mixer(channels)
        self.keep_mixer = nn.Parameter(torch.ones(channels, 1, 1))
        self.norm_convolution = LayerNorm2d(channels)
        self.convolution = channel_attention_block(channels, field)
        self.keep_convolution = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the map after both halves, in the shape of ``x``."""
        x = x * self.keep_mixer + self.mixer(self.norm_mixer(x))
        return x * self.keep_convolution + self.convolution(self.norm_convolution(x))
