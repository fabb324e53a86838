"""The scan in pure tensor operations without a loop over time: for export, for second derivatives, for any device.

Neighbours are combined pairwise, (a₁, b₁) then (a₂, b₂) ↦ (a₂a₁, a₂b₁ + b₂), the half-length problem is solved, and the
positions between are filled in: O(L) work in log₂ L rounds. Only products of decays occur, never a quotient or the
exponential of a positive sum, so nothing can overflow where the recurrence itself does not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def unavailable() -> str | None:
    """None: plain torch runs everywhere."""
    return None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The scan without D, bias and softplus; shapes as in :func:`src.ops.selective_scan`.

    Memory: the states of all steps, S × the size of u, several times.
    """
    groups = B.shape[1]
    u, delta = (x.unflatten(1, (groups, -1)).unsqueeze(3) for x in (u, delta))
    decay = torch.exp(delta * A.unflatten(0, (groups, -1)).unsqueeze(-1))
    states = _linear_recurrence(decay, delta * u * B.unsqueeze(2))
    return (states * C.unsqueeze(2)).sum(3).flatten(1, 2)


def _linear_recurrence(decay: Tensor, drive: Tensor) -> Tensor:
    """h_t = a_t·h_{t−1} + b_t along the last axis, h_{−1} = 0."""
    length = drive.shape[-1]
    if length == 1:
        return drive + 0 * decay  # h_{−1} = 0; a gradient of zero, not none, for A
    pairs = length // 2
    even_a, odd_a = decay[..., 0::2], decay[..., 1::2]
    even_b, odd_b = drive[..., 0::2], drive[..., 1::2]
    odd_h = _linear_recurrence(odd_a * even_a[..., :pairs], odd_a * even_b[..., :pairs] + odd_b)
    later = even_a[..., 1:] * odd_h[..., : even_b.shape[-1] - 1] + even_b[..., 1:]
    even_h = torch.cat([even_b[..., :1], later], -1)
    woven = torch.stack([even_h[..., :pairs], odd_h], -1).flatten(-2)
    return woven if length % 2 == 0 else torch.cat([woven, even_h[..., -1:]], -1)
