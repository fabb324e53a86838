"""Shape and memory layout of what the operator returns, known without computing it; the same on every device.

A map (N, rows, L) is *token-major* where the rows of a token lie side by side, as in a channels_last image; else its
tokens lie side by side, row after row. Outputs follow their inputs.
"""

from __future__ import annotations

from torch import Tensor

from src.ops.scan.inputs import Gradients, ScanInputs

CHUNK = 128
"""Steps between two kept states: these take S/128 of the memory of Δ, and a chunk's decays stay in the second-level cache."""

LANES = 16
"""Channels that the CPU kernels compute at once, a block."""


def is_token_major(x: Tensor) -> bool:
    """Return whether the rows of a token of (N, rows, L) or (N, G, rows, L) are contiguous."""
    return x.stride(-2) == 1 and x.shape[-2] > 1


def empty_map(like: Tensor, by_token: bool) -> Tensor:
    """An empty (N, rows, L) of the shape of ``like``, token-major if that is or ``by_token``."""
    batch, rows, length = like.shape
    return (
        like.new_empty(batch, length, rows).mT
        if by_token or is_token_major(like)
        else like.new_empty(batch, rows, length)
    )


def empty_states(u: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """For the states before each chunk: (N, G, chunks, blocks of channels, S rounded up to even, channels of a block)."""
    batch, _, length = u.shape
    rows, states = A.shape
    groups = B.shape[1]
    return u.new_empty(batch, groups, -(-length // CHUNK), -(-(rows // groups) // LANES), states + states % 2, LANES)


def empty_gradients(inputs: ScanInputs) -> Gradients:
    """Return tensors that the gradients of `inputs` fit into."""
    u, delta, A, B, _C, D, delta_bias, delta_proj, *_ = inputs
    batch, groups, states, length = B.shape
    du, d_delta = empty_map(u, inputs.by_token), empty_map(delta, inputs.by_token or delta_proj is not None)
    dB, dC = (B.new_empty(batch, length, groups, states).permute(0, 2, 3, 1) for _ in "BC")
    dD, d_bias, d_proj = (u.new_empty(0 if given is None else given.shape) for given in (D, delta_bias, delta_proj))
    return du, d_delta, A.new_empty(A.shape), dB, dC, dD, d_bias, d_proj
