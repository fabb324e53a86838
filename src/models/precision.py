"""The parts that stay float32 under autocast: the scan, the divisions of the closed-form steps, the losses."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Return ``x`` in float32 if it is in half precision; float32 and float64 are not changed."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
