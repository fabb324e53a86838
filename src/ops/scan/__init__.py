"""The selective scan of a state-space model: one file per backend, and the dispatcher.

==========  ==============================================================================================
loop        the recurrence, step by step: the reference
parallel    tensor operations without a loop over time: for torch.export, second derivatives, any device
numba       compiled CPU kernels (operator `run::selective_scan`)
triton      compiled CUDA kernels (the same operator)
mamba_ssm   the CUDA kernels of the package mamba-ssm, if it is installed
(onnx)      not a backend: the form that `src.export` writes
==========  ==============================================================================================
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from src.ops.precision import without_autocast
from src.ops.scan import loop, mamba, numba_cpu, onnx, parallel, triton_cuda
from src.ops.scan.checks import check
from src.ops.scan.inputs import ScanInputs
from src.ops.scan.op import scan as operator
from src.ops.scan.plain import plain
from src.utils.private import in_transform

BACKENDS: dict[str, Any] = {
    "loop": loop,
    "parallel": parallel,
    "numba": numba_cpu,
    "triton": triton_cuda,
    "mamba_ssm": mamba,
}
KERNELS = {"numba": "cpu", "triton": "cuda"}
"""Backends of the operator `run::selective_scan` → the device that they run on."""


def available_backends() -> dict[str, str | None]:
    """Return backend name → None if it can be used here, else the reason why not."""
    return {name: backend.unavailable() for name, backend in BACKENDS.items()}


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    backend: str = "auto",
    delta_proj: Tensor | None = None,
    order: Tensor | None = None,
) -> Tensor:
    """Return y of h_t = exp(Δ_t·A)·h_{t−1} + Δ_t·B_t·u_t,  y_t = ⟨C_t, h_t⟩ + D·u_t; float32 inside (float64 stays).

    Args:
        u: (N, G·d, L) inputs, G groups of d channels. Or (N, P·d, L) where P divides G: each G/P successive groups then
            share d rows of u, and y is the sum of their outputs.
        delta: (N, G·d, L) step sizes Δ.
        A: (G·d, S) continuous decays, usually negative.
        B: (N, G, S, L) input projections, shared by the channels of a group.
        C: likewise, output projections.
        D: (G·d) skip weights or None.
        delta_bias: (G·d), added to Δ, or None.
        delta_softplus: apply softplus to Δ, after the bias.
        backend: ``auto`` (the fastest one for device and dtype; ``parallel`` while exporting), or a backend's name.
        delta_proj: (G·d, R) weights of a low-rank Δ: ``delta`` is then (N, G·R, L), and Δ = delta_proj·delta per group.
        order: (G, L) integers, a permutation of the tokens for each group: at step t group g visits token order[g, t].
            Inputs and outputs are not reordered. Its values are only checked on a CPU.

    Returns:
        Like ``u``, in its dtype, shape and memory layout (token-major with an ``order`` or shared rows).

    Raises:
        ValueError: lists every wrong argument and what was expected, or says why the backend cannot be used.

    Arguments up to ``delta_softplus`` are those of mamba's ``selective_scan_fn``.

    >>> one = torch.ones(1, 1, 3)
    >>> selective_scan(one, one, -torch.ones(1, 1) * 0.6931472, one[None], one[None])  # h = h/2 + 1
    tensor([[[1.0000, 1.5000, 1.7500]]])
    """
    inputs = ScanInputs(u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus)
    check(inputs)
    dtype = torch.float64 if u.dtype == torch.float64 else torch.float32
    name = _pick(backend, u.device.type, dtype)
    given = (u, delta, A, B, C, D, delta_bias, delta_proj)
    values: list[Any] = [*(None if x is None else x.to(dtype) for x in given), order, delta_softplus]
    with without_autocast(u.device):
        return _call(name, ScanInputs(*values)).to(u.dtype)


def _call(backend: str, inputs: ScanInputs) -> Tensor:
    if onnx.is_node():
        return onnx.node(inputs)
    if backend not in KERNELS:
        return plain(BACKENDS[backend].scan, inputs)
    records = torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    return operator(*inputs, records)[0]


def _is_transformed() -> bool:
    """Return whether this runs in forward-mode or `torch.func` differentiation, which the operator lacks."""
    return not torch.compiler.is_compiling() and in_transform()


def _pick(backend: str, device: str, dtype: torch.dtype) -> str:
    if backend == "auto":
        if torch.compiler.is_exporting() or torch.onnx.is_in_onnx_export() or _is_transformed():
            return "parallel"
        fitting = [
            name for name, on in KERNELS.items() if device in (on, "meta") and BACKENDS[name].unavailable() is None
        ]
        return fitting[0] if fitting else "parallel"
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"selective_scan: backend: got {backend!r}, expected auto or one of {', '.join(BACKENDS)}")
    reason = BACKENDS[backend].unavailable()
    on = KERNELS.get(backend, "cuda" if backend == "mamba_ssm" else device)
    if reason is None and device != on:
        reason = f"it computes on {on}, the tensors are on {device}"
    if reason is None and dtype == torch.float64 and backend in ("triton", "mamba_ssm"):
        reason = "it computes in float32; float64: loop, parallel, or numba on the CPU"
    if reason is None and backend in KERNELS and _is_transformed():
        reason = "it knows reverse-mode autograd only; forward mode and torch.func: parallel"
    if reason is not None:
        raise ValueError(f"selective_scan: backend={backend} cannot be used here: {reason}")
    return backend
