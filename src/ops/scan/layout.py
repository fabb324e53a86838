"""What the operator returns and how it lies in memory, known without computing it; the same on every device.

A map (N, rows, L) is *token-major* where the rows of a token lie side by side, as in a channels_last image; else its
tokens lie side by side, row after row. Outputs follow their inputs.
"""

from __future__ import annotations

from torch import Tensor

CHUNK = 128
"""Steps between two kept states: these take S/128 of the memory of Δ, and a chunk's decays stay in the second-level cache."""

LANES = 16
"""Channels that the CPU kernels compute at once, a block."""


def is_token_major(x: Tensor) -> bool:
    """Do the rows of a token of (N, rows, L) or (N, G, rows, L) lie side by side?"""
    return x.stride(-2) == 1 and x.shape[-2] > 1


def by_token(u: Tensor, A: Tensor, order: Tensor | None) -> bool:
    """Must maps be token-major: tokens in an order of their own, or groups that share the rows of u?"""
    return order is not None or u.shape[1] != A.shape[0]


def empty_map(like: Tensor, by_token: bool) -> Tensor:
    """An empty (N, rows, L) of the shape of ``like``, token-major if that is or ``by_token``."""
    batch, rows, length = like.shape
    return like.new_empty(batch, length, rows).mT if by_token or is_token_major(like) else like.new_empty(batch, rows, length)


def empty_states(u: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """For the states before each chunk: (N, G, chunks, blocks of channels, S rounded up to even, channels of a block)."""
    batch, _, length = u.shape
    rows, states = A.shape
    groups = B.shape[1]
    return u.new_empty(batch, groups, -(-length // CHUNK), -(-(rows // groups) // LANES), states + states % 2, LANES)


def empty_gradients(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_proj: Tensor | None,
    order: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """For the gradients of u, delta, A, B, C, D, delta_bias, delta_proj; without elements where there is no such argument."""
    batch, groups, states, length = B.shape
    maps = by_token(u, A, order)
    du, d_delta = empty_map(u, maps), empty_map(delta, maps or delta_proj is not None)
    dB, dC = (B.new_empty(batch, length, groups, states).permute(0, 2, 3, 1) for _ in "BC")
    dD, d_bias, d_proj = (u.new_empty(0 if given is None else given.shape) for given in (D, delta_bias, delta_proj))
    return du, d_delta, A.new_empty(A.shape), dB, dC, dD, d_bias, d_proj
