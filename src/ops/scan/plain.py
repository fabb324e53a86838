"""The scan's options in tensor operations, for the backends that only implement the recurrence itself."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.scan.inputs import ScanInputs

Recurrence = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def plain(scan: Recurrence, inputs: ScanInputs) -> Tensor:
    """Compute :func:`src.ops.selective_scan` by a backend's recurrence.

    ``scan(u, delta, A, B, C)`` takes u, delta (N,G·d,L), A (G·d,S), B, C (N,G,S,L).
    """
    u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus = inputs
    groups, rows, u_rows = B.shape[1], A.shape[0], u.shape[1]
    width = rows // groups
    shared = u_rows // width
    if delta_proj is not None:
        delta = (delta_proj.unflatten(0, (groups, width)) @ delta.unflatten(1, (groups, -1))).flatten(1, 2)
    if u_rows != rows:
        u = u.unflatten(1, (shared, 1, width)).expand(-1, -1, groups // shared, -1, -1).flatten(1, 3)
    if delta_bias is not None:
        delta = delta + delta_bias.unsqueeze(-1)
    if delta_softplus:
        delta = F.softplus(delta)
    if order is None:
        y = scan(u, delta, A, B, C)
    else:
        visits = order.long()[:, None].expand(groups, width, -1).flatten(0, 1).expand_as(u)
        states = order.long()[:, None].expand_as(B)
        y = scan(u.gather(-1, visits), delta.gather(-1, visits), A, B.gather(-1, states), C.gather(-1, states))
        y = torch.zeros_like(y).scatter(-1, visits, y)
    if D is not None:
        y = y + D.unsqueeze(-1) * u
    return y if u_rows == rows else y.unflatten(1, (shared, groups // shared, width)).sum(2).flatten(1, 2)
