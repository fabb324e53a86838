"""The reference: the recurrence as in the paper, written for readability."""

from __future__ import annotations

import torch
from torch import Tensor


def unavailable() -> str | None:
    """Return None: plain torch runs everywhere."""
    return None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the scan without D, bias and softplus, differentiable by autograd; shapes as in `selective_scan`."""
    batch, rows, _ = u.shape
    groups, states = B.shape[1], A.shape[1]
    u, delta = (x.unflatten(1, (groups, rows // groups)) for x in (u, delta))
    A = A.unflatten(0, (groups, rows // groups))
    state = u.new_zeros(batch, groups, rows // groups, states)
    outputs = []
    for u_t, delta_t, B_t, C_t in zip(u.unbind(-1), delta.unbind(-1), B.unbind(-1), C.unbind(-1), strict=True):
        state = torch.exp(delta_t.unsqueeze(-1) * A) * state + (delta_t * u_t).unsqueeze(-1) * B_t.unsqueeze(2)
        outputs.append((state * C_t.unsqueeze(2)).sum(-1))
    return torch.stack(outputs, -1).flatten(1, 2)
