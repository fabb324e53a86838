"""CUDA kernels of the scan in Triton."""

from __future__ import annotations


def unavailable() -> str | None:
    """The reason why not."""
    return "CUDA kernels: still to come"
