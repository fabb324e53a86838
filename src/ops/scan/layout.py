"""Shape and memory layout of the operator's outputs, known without computing them and the same on every device.

A map (N, rows, L) is *token-major* if the rows of a token are contiguous, as in a channels_last image; else the tokens
of a row are contiguous. Outputs have the layout of their inputs.
"""

from __future__ import annotations

from torch import Tensor

from src.ops.scan.inputs import Gradients, ScanInputs

CHUNK = 128
"""Steps of a chunk, at whose start the states are kept.

The kept states take S/128 of the memory of Δ, and the decays of a chunk fit into the second-level cache.
"""

LANES = 16
"""Channels of a block, which the CPU kernels compute at once."""


def is_token_major(x: Tensor) -> bool:
    """Return whether the rows of a token of (N, rows, L) or (N, G, rows, L) are contiguous."""
    return x.stride(-2) == 1 and x.shape[-2] > 1


def empty_map(like: Tensor, by_token: bool) -> Tensor:
    """Return an uninitialised map shaped like ``like``, (N, rows, L); token-major if ``like`` is, or ``by_token``."""
    batch, rows, length = like.shape
    return (
        like.new_empty(batch, length, rows).mT
        if by_token or is_token_major(like)
        else like.new_empty(batch, rows, length)
    )


def empty_states(u: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """Return an uninitialised tensor for the states before each chunk.

    Its shape is (N, G, chunks, blocks of channels, S rounded up to even, channels of a block).
    """
    batch, _, length = u.shape
    rows, states = A.shape
    groups = B.shape[1]
    return u.new_empty(batch, groups, -(-length // CHUNK), -(-(rows // groups) // LANES), states + states % 2, LANES)


def empty_gradients(inputs: ScanInputs) -> Gradients:
    """Return uninitialised tensors for the gradients of `inputs`."""
    u, delta, A, B, _C, D, delta_bias, delta_proj, *_ = inputs
    batch, groups, states, length = B.shape
    du, d_delta = empty_map(u, inputs.by_token), empty_map(delta, inputs.by_token or delta_proj is not None)
    dB, dC = (B.new_empty(batch, length, groups, states).permute(0, 2, 3, 1) for _ in "BC")
    dD, d_bias, d_proj = (u.new_empty(0 if given is None else given.shape) for given in (D, delta_bias, delta_proj))
    return du, d_delta, A.new_empty(A.shape), dB, dC, dD, d_bias, d_proj
