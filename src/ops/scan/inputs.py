"""The arguments of a scan as one tuple."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Gradients of u, delta, A, B, C, D, delta_bias and delta_proj; empty for an argument that is None."""


class ScanInputs(NamedTuple):
    """The arguments of :func:`src.ops.selective_scan`, which explains their shapes and meaning."""

    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor | None
    delta_bias: Tensor | None
    delta_proj: Tensor | None
    order: Tensor | None
    delta_softplus: bool

    @property
    def by_token(self) -> bool:
        """Return whether outputs must be token-major: for a custom token order, or if groups share rows of `u`."""
        return self.order is not None or self.u.shape[1] != self.A.shape[0]
