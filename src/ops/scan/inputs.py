"""The arguments of a scan, under one name."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""Of u, delta, A, B, C, D, delta_bias and delta_proj; without elements where there is no such argument."""


class ScanInputs(NamedTuple):
    """What :func:`src.ops.selective_scan` is given; shapes and meaning are explained there."""

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
        """Whether outputs must be token-major: true for a custom token order, or when groups share rows of `u`."""
        return self.order is not None or self.u.shape[1] != self.A.shape[0]
