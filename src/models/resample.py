"""Downsample maps and upsample logits so that token (i, j) at stride s always covers the pixels from (i·s, j·s).

Sizes are ⌈H/s⌉ everywhere. Only whole factors are used: `interpolate(size=…)` would shift maps against each other at
odd sizes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


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
        x = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    return x[..., : size[0], : size[1]]
