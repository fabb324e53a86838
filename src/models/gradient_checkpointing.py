"""Call a part of a network as usual, or keep only its input and compute it again in the backward pass."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)

Caller = Callable[..., Any]
"""Used as ``call(part, *tensors)``."""


def call_plain(part: nn.Module, *tensors: Tensor) -> Any:
    """Return ``part(*tensors)``."""
    return part(*tensors)


def call_checkpointed(part: nn.Module, *tensors: Tensor) -> Any:
    """Return ``part(*tensors)`` without storing intermediate results (gradient checkpointing).

    Gradients and buffers are the same as those of a plain call.
    """
    if not torch.is_grad_enabled():
        return part(*tensors)
    if torch.compiler.is_compiling():  # recomputes values only, without updating buffers; does not support context_fn
        return checkpoint(part, *tensors, use_reentrant=False)
    frozen = functools.partial(_frozen_statistics, part)
    return checkpoint(part, *tensors, use_reentrant=False, context_fn=lambda: (contextlib.nullcontext(), frozen()))


@contextlib.contextmanager
def _frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Freeze BatchNorm's statistics while checkpointing recomputes: it must not count the same batch twice."""
    norms = [m for m in module.modules() if isinstance(m, BATCH_NORMS) and m.num_batches_tracked is not None]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, norm.num_batches_tracked.clone()  # type: ignore[union-attr]
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
