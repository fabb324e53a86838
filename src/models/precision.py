"""What stays float32 under autocast: the scan, the divisions of the closed-form steps, the losses."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """``x`` in float32 if it was half as wide; float32 and float64 as they are."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which matrix products and convolutions keep their inputs' precision."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()
