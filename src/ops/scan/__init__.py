"""The selective scan of a state-space model, one file a backend, and the dispatcher."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.scan import loop, numba_cpu, parallel

BACKENDS = {"loop": loop, "parallel": parallel, "numba": numba_cpu}


def available_backends() -> dict[str, str | None]:
    """Backend name → None where it can be used here, else the reason why not."""
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
) -> Tensor:
    """h_t = exp(Δ_t·A)·h_{t−1} + Δ_t·B_t·u_t,  y_t = ⟨C_t, h_t⟩ + D·u_t; float32 inside (float64 stays).

    Args:
        u: (N, G·d, L) inputs, G groups of d channels.
        delta: (N, G·d, L) step sizes Δ; ``delta_bias`` (G·d) is added, then softplus is taken if ``delta_softplus``.
        A: (G·d, S) continuous decays, usually negative.
        B: (N, G, S, L) input projections, shared by the channels of a group. C: likewise, output projections.
        D: (G·d) skip weights or None.
        backend: ``auto`` (Numba for float32 on the CPU, parallel elsewhere), ``loop``, ``parallel`` or ``numba``.

    Returns:
        (N, G·d, L) in the dtype of ``u``.

    Raises:
        ValueError: wrong shapes or an unknown or unusable backend.

    Meaning and shapes are those of mamba's ``selective_scan_fn``.
    """
    _check_shapes(u, delta, A, B, C, D, delta_bias)
    dtype = u.dtype
    work = torch.float64 if torch.float64 in (dtype, A.dtype) else torch.float32
    scan = _pick(backend, u.device.type, work)
    u, delta, A, B, C = (x.to(work) for x in (u, delta, A, B, C))
    if delta_bias is not None:
        delta = delta + delta_bias.to(work).unsqueeze(-1)
    if delta_softplus:
        delta = F.softplus(delta)
    y = scan(u, delta, A, B, C)
    if D is not None:
        y = y + D.to(work).unsqueeze(-1) * u
    return y.to(dtype)


def _pick(backend: str, device: str, dtype: torch.dtype) -> Callable[..., Tensor]:
    fits_numba = device == "cpu" and dtype == torch.float32
    if backend == "auto":
        backend = "numba" if fits_numba and numba_cpu.unavailable() is None else "parallel"
    if backend not in BACKENDS:
        raise ValueError(f"backend: got {backend!r}, expected auto or one of {sorted(BACKENDS)}")
    reason = BACKENDS[backend].unavailable()
    if reason is not None:
        raise ValueError(f"backend={backend} cannot be used here: {reason}")
    if backend == "numba" and not fits_numba:
        raise ValueError(f"backend=numba computes float32 on the CPU; got {dtype} on {device}")
    return BACKENDS[backend].scan


def _check_shapes(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, delta_bias: Tensor | None) -> None:
    if u.ndim != 3 or A.ndim != 2 or B.ndim != 4:
        raise ValueError(f"u must be (N, G·d, L), A (G·d, S), B (N, G, S, L); got {tuple(u.shape)}, {tuple(A.shape)}, {tuple(B.shape)}")
    batch, rows, length = u.shape
    groups, states = B.shape[1], A.shape[1]
    expected = {
        "delta": (delta, (batch, rows, length)),
        "A": (A, (rows, states)),
        "B": (B, (batch, groups, states, length)),
        "C": (C, (batch, groups, states, length)),
        "D": (D, (rows,)),
        "delta_bias": (delta_bias, (rows,)),
    }
    wrong = [
        f"{n}: got {tuple(x.shape)}, expected {shape}" for n, (x, shape) in expected.items() if x is not None and tuple(x.shape) != shape
    ]
    if groups == 0 or rows % groups:
        wrong.append(f"u: its {rows} rows cannot be divided into the {groups} groups of B")
    if wrong:
        raise ValueError("selective_scan: " + "; ".join(wrong))
