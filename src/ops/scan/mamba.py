"""The CUDA kernels of mamba-ssm, when the package is installed and requested."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def _selective_scan_fn() -> Any:
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    return selective_scan_fn


def unavailable() -> str | None:
    """Return None if mamba-ssm can be imported with its compiled scan, else the error and the way out."""
    try:
        import selective_scan_cuda  # noqa: F401

        _selective_scan_fn()
    except Exception as error:
        reason = f"mamba-ssm with its CUDA scan cannot be imported ({type(error).__name__}: {error})"
        return f"{reason}; how to install it: docs/explanation/selective-scan.md"
    return None


def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Return the scan without D, bias and softplus; shapes as in :func:`src.ops.selective_scan`."""
    u, delta, B, C = (x.contiguous() for x in (u, delta, B, C))
    return _selective_scan_fn()(u, delta, A.contiguous(), B, C)
