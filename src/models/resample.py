"""Downsample maps and upsample logits so that token (i, j) at stride s always covers the pixels from (i·s, j·s).

Sizes are ⌈H/s⌉ everywhere. Only whole factors are used: `interpolate(size=…)` would shift maps against each other at
odd sizes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.precision import without_autocast


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Replicate the bottom row and the right column of (N,C,H,W) until H and W are multiples of ``multiple``."""
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def pool(x: Tensor, factor: int) -> Tensor:
    """Average over factor×factor cells: (N,C,H,W) → (N,C,⌈H/factor⌉,⌈W/factor⌉)."""
    return x if factor == 1 else F.avg_pool2d(pad_to_multiple(x, factor), factor)


def upsample(x: Tensor, factor: int, size: tuple[int, int]) -> Tensor:
    """Enlarge bilinearly by ``factor``, then crop to ``size`` = (H, W), which must be at most factor × the old size."""
    if factor > 1:
        is_map = x.shape[1] == 1 and x.requires_grad and torch.is_grad_enabled() and x.dtype == torch.float32
        x = _EnlargedMap.apply(x, factor) if is_map else _enlarged(x, factor)
    return x[..., : size[0], : size[1]]


def _enlarged(x: Tensor, factor: int) -> Tensor:
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class _EnlargedMap(torch.autograd.Function):
    """:func:`_enlarged` of one channel, with its gradient as two matrix products: a seventh of interpolate's time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        return _enlarged(x, factor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        with without_autocast(gradient.device):
            rows, columns = (_weights(size // ctx.factor, ctx.factor, gradient) for size in gradient.shape[-2:])
            return rows @ gradient @ columns.mT, None


def _weights(size: int, factor: int, like: Tensor) -> Tensor:
    """Return the (size, factor·size) weights of linear interpolation."""
    unit = torch.eye(size, dtype=like.dtype, device=like.device)
    return F.interpolate(unit.unsqueeze(0), scale_factor=factor, mode="linear", align_corners=False)[0]
