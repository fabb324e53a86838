"""The cost of the scan for torch's FLOP counter; importing this module registers it.

It is not part of `op.py`, because the counter imports Triton: 100 MB that prediction on a CPU does not need.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import register_flop_formula

import src.ops.scan.op  # noqa: F401  registers the operators


@register_flop_formula(torch.ops.run.selective_scan)
def _flops(u_shape, delta_shape, A_shape, B_shape, *args, out_shape=None, **kwargs) -> int:  # type: ignore[no-untyped-def]
    """Count 9 operations per channel, state and token (mamba's count: exp is one), 2 for D, 2·R for a low-rank Δ."""
    rows, states = A_shape
    tokens = u_shape[0] * u_shape[2]
    skip, rank = int(args[1] is not None), args[3][1] if args[3] is not None else 0
    return tokens * rows * (9 * states + 2 * skip + 2 * rank)


@register_flop_formula(torch.ops.run.selective_scan_backward)
def _backward_flops(dy_shape, states_shape, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    """Count the recomputation of the states, and about twice as much for the gradients."""
    return 3 * _flops(*args)
