"""The scan in pure tensor operations without a loop over time: for export, for second derivatives, for any device.

Neighbours are combined in pairs, (a₁, b₁) then (a₂, b₂) ↦ (a₂a₁, a₂b₁ + b₂); the problem of half the length is solved,
and the positions between are filled in: O(L) work in log₂ L rounds. Only products of decays are formed, never a
quotient or the exponential of a positive sum, so nothing overflows unless the recurrence itself does.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from src.utils.private import assume

MOST_ROUNDS = 18
"""Rounds of an exported scan whose length is not known yet: enough for 2¹⁸ tokens, a map of 512×512."""


def unavailable() -> str | None:
    """Return None: plain torch runs everywhere."""
    return None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the scan without D, bias and softplus; shapes as in :func:`src.ops.selective_scan`.

    It needs several times the memory of the states of all steps (S × the size of u).
    """
    groups = B.shape[1]
    u, delta = (x.unflatten(1, (groups, -1)).unsqueeze(3) for x in (u, delta))
    decay = torch.exp(delta * A.unflatten(0, (groups, -1)).unsqueeze(-1))
    length = u.shape[-1]
    unknown = not isinstance(length, int) or (torch.compiler.is_exporting() and torch.compiler.is_dynamo_compiling())
    if unknown:
        assume(length <= 2**MOST_ROUNDS)
    rounds = MOST_ROUNDS if unknown else max(1, (length - 1).bit_length())
    states = _linear_recurrence(decay, delta * u * B.unsqueeze(2), rounds)
    return (states * C.unsqueeze(2)).sum(3).flatten(1, 2)


def _linear_recurrence(decay: Tensor, drive: Tensor, rounds: int) -> Tensor:
    """Return h_t = a_t·h_{t−1} + b_t along the last axis, from h_{−1} = 0.

    ``rounds`` must be at least log₂ L; more are harmless, as one token stays one.
    """
    if rounds == 0:
        return drive
    length = drive.shape[-1]
    (even_a, odd_a), (even_b, odd_b) = (_in_pairs(x) for x in (decay, drive))
    odd_h = _linear_recurrence(odd_a * even_a, odd_a * even_b + odd_b, rounds - 1)
    even_h = even_a * F.pad(odd_h, (1, -1)) + even_b
    return torch.stack([even_h, odd_h], -1).flatten(-2).narrow(-1, 0, length)


def _in_pairs(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the elements at even and at odd positions, ⌊L/2⌋ + 1 each, padded with zeros that are not used.

    The padding keeps the length above 1, because an export would treat a length of 1 as a constant.
    """
    return F.pad(x, (0, 1))[..., 0::2], F.pad(x, (0, 2))[..., 1::2]
