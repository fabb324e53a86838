"""CPU kernels of the selective scan: forward, and an analytic backward that recomputes the states.

One task per (sample, group): within it the rows run one after the other, so the sums for the gradients of B and C
need no locks and come out the same every time. Nothing is compiled at import; compiled code is cached on disk.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def unavailable() -> str | None:
    """None where numba can be imported, else the reason."""
    try:
        import numba  # noqa: F401
    except Exception as error:
        return f"numba cannot be imported ({error})"
    return None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The scan without D, bias and softplus; shapes as in :func:`src.ops.selective_scan`."""
    return _Scan.apply(u, delta, A, B, C)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        u, delta, A = u.contiguous(), delta.contiguous(), A.contiguous()
        B, C = (x.transpose(-1, -2).contiguous() for x in (B, C))
        ctx.save_for_backward(u, delta, A, B, C)
        y = torch.empty_like(u)
        kernel, _ = _kernels()
        kernel(*_arrays(u, delta, A, B, C), y.detach().numpy())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, ...]:
        u, delta, A, B, C = ctx.saved_tensors
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dB, dC = torch.zeros_like(B), torch.zeros_like(C)
        dA = A.new_zeros(u.shape[0], *A.shape)
        _, kernel = _kernels()
        kernel(*_arrays(u, delta, A, B, C, grads[0].contiguous()), *_arrays(du, ddelta, dA, dB, dC))
        return du, ddelta, dA.sum(0), dB.transpose(-1, -2), dC.transpose(-1, -2)


def _arrays(*tensors: Tensor) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in tensors]


@functools.cache
def _kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    from src.ops.scan import numba_kernels

    return numba_kernels.forward, numba_kernels.backward
