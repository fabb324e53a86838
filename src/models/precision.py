"""What stays float32 under autocast: the scan, the divisions of the closed-form steps, the losses."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 if it was half as wide; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
