"""What the scan costs, for torch's FLOP counter: importing this module is enough.

It is not part of `op.py`, as the counter imports Triton: 100 MB that a mask on a CPU can do without.
"""

from __future__ import annotations

import torch
from torch.utils.flop_counter import register_flop_formula

import src.ops.scan.op  # noqa: F401  the operators must be there


@register_flop_formula(torch.ops.run.selective_scan)
def _flops(u_shape, delta_shape, A_shape, B_shape, *args, out_shape=None, **kwargs) -> int:  # type: ignore[no-untyped-def]
    """9 a channel, state and token (mamba's count: exp as one), 2 for D, 2·R for a low-rank Δ."""
    rows, states = A_shape
    tokens = u_shape[0] * u_shape[2]
    skip, rank = int(args[1] is not None), args[3][1] if args[3] is not None else 0
    return tokens * rows * (9 * states + 2 * skip + 2 * rank)


@register_flop_formula(torch.ops.run.selective_scan_backward)
def _backward_flops(dy_shape, states_shape, *args, **kwargs) -> int:  # type: ignore[no-untyped-def]
    """The states once more, and about twice as much for the gradients."""
    return 3 * _flops(*args)
