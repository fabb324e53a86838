"""The scan on the CPU: compiled kernels, forward and analytic backward, run by ordinary threads.

Nothing is compiled at import; compiled code is cached on disk. The kernels release the GIL, and as many threads as
torch may use (``torch.set_num_threads``) share the tasks. The division into tasks only depends on the shapes.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.ops.scan.inputs import Gradients, ScanInputs
from src.ops.scan.layout import CHUNK, LANES, empty_map, empty_states

TASKS = 8
"""Minimum number of tasks to aim for if there are fewer samples and groups."""


def unavailable() -> str | None:
    """Return None if numba can be imported, else the reason."""
    try:
        import numba  # noqa: F401
    except Exception as error:
        return f"numba cannot be imported ({error})"
    return None


def compile_now() -> None:
    """Compile both directions in float32 and cache them on disk, as the first scan would; `make install` calls it."""
    one = torch.ones(1, 1, 1)
    inputs = ScanInputs(one, one, one[0], one[None], one[None], None, None, None, None, delta_softplus=True)
    y, states = forward(inputs, keep_states=True)
    backward(y, states, inputs)


def forward(inputs: ScanInputs, keep_states: bool) -> tuple[Tensor, Tensor]:
    """Return y, and the states before each chunk (empty without ``keep_states``)."""
    u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus = inputs
    sizes = _sizes(u, A, B, delta_proj)
    y, states = empty_map(u, inputs.by_token), empty_states(u, A, B) if keep_states else u.new_empty(0)
    u, delta, B, C = _readable((u, delta, B, C), inputs.by_token)
    arguments = [
        *_flat(u, delta, A.contiguous(), B, C),
        *_optional(u, D, delta_bias, delta_proj),
        _route(order),
        *_flat(y, states),
    ]
    _run("forward", sizes, arguments, u.dtype, (u, delta, B, C, y), delta_softplus)
    return y, states


def backward(dy: Tensor, states: Tensor, inputs: ScanInputs) -> Gradients:
    """Return the gradients, from the gradient of y and the states before each chunk."""
    u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus = inputs
    sizes = _sizes(u, A, B, delta_proj)
    batch, parts, rank = sizes[0], sizes[-1], sizes[6]
    groups, states_a_group, length = B.shape[1:]
    du = empty_map(u, inputs.by_token)
    d_delta = u.new_empty(parts, batch, length, groups * rank) if rank else empty_map(delta, inputs.by_token)
    dB, dC = (u.new_empty(parts, batch, length, groups, states_a_group) for _ in "BC")
    dA, dD, d_bias, d_proj = (u.new_empty(batch, A.shape[0], *columns) for columns in (A.shape[1:], (), (), (rank,)))
    u, delta, B, C, dy = _readable((u, delta, B, C, dy), inputs.by_token)
    arguments = [
        *_flat(u, delta, A.contiguous(), B, C),
        *_optional(u, D, delta_bias, delta_proj),
        _route(order),
        *_flat(dy, states),
    ]
    arguments += _flat(du, d_delta, dA, dB, dC, dD, d_bias, d_proj)
    _run("backward", sizes, arguments, u.dtype, (u, delta, B, C, dy, du, d_delta), delta_softplus)
    dB, dC = (_over_parts(x).permute(0, 2, 3, 1) for x in (dB, dC))
    dD, d_bias, d_proj = (
        x.sum(0) if given is not None else u.new_empty(0)
        for x, given in ((dD, D), (d_bias, delta_bias), (d_proj, delta_proj))
    )
    return du, _over_parts(d_delta).mT if rank else d_delta, dA.sum(0), dB, dC, dD, d_bias, d_proj


def _sizes(u: Tensor, A: Tensor, B: Tensor, delta_proj: Tensor | None) -> tuple[int, ...]:
    batch, u_rows, length = u.shape
    rows, states = A.shape
    groups = B.shape[1]
    width = rows // groups
    shared = u_rows // width
    blocks = -(-width // LANES)
    parts = min(blocks, -(-TASKS // max(1, batch * shared)))
    return (
        batch,
        shared,
        groups // shared,
        length,
        width,
        states,
        0 if delta_proj is None else delta_proj.shape[1],
        CHUNK,
        parts,
    )


def _readable(tensors: Sequence[Tensor], by_token: bool) -> list[Tensor]:
    """Copy only the tensors that the kernels cannot index."""

    def readable(x: Tensor) -> Tensor:
        flat_rows = x.ndim == 3 or x.shape[1] == 1 or x.stride(1) == x.shape[2] * x.stride(2)
        if flat_rows and (x.stride(-2) == 1 or (x.stride(-1) == 1 and not by_token)):
            return x
        return x.movedim(-1, 1).contiguous().movedim(1, -1) if by_token or x.ndim == 4 else x.contiguous()

    return [readable(x) for x in tensors]


def _flat(*tensors: Tensor) -> list[np.ndarray]:
    """Return each tensor's memory, from its first element on, as a vector."""
    views = []
    for tensor in tensors:
        extent = (
            1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
            if tensor.numel()
            else 0
        )
        views.append(tensor.detach().as_strided((extent,), (1,)).numpy())
    return views


def _optional(like: Tensor, *tensors: Tensor | None) -> list[np.ndarray]:
    return _flat(*(like.new_empty(0) if tensor is None else tensor.contiguous() for tensor in tensors))


def _route(order: Tensor | None) -> np.ndarray:
    return np.empty(0, np.int32) if order is None else order.to(torch.int32).contiguous().numpy().reshape(-1)


def _over_parts(x: Tensor) -> Tensor:
    return x[0] if x.shape[0] == 1 else x.sum(0)


def _run(
    name: str,
    sizes: tuple[int, ...],
    arguments: list[np.ndarray],
    dtype: torch.dtype,
    maps: Sequence[Tensor],
    softplus: bool,
) -> None:
    if not maps[0].numel():
        return
    kernel, table = _kernel(name), _table(dtype)
    strides = tuple((x.stride(0), x.stride(-2), x.stride(-1)) for x in maps)
    tasks = sizes[0] * sizes[1] * sizes[-1]
    queue = itertools.count()

    def work() -> None:
        while (task := next(queue)) < tasks:
            kernel(task, *arguments, table, sizes, strides, softplus)

    helpers = min(torch.get_num_threads(), tasks) - 1
    waiting = []
    with contextlib.suppress(RuntimeError):  # the interpreter is shutting down and starts no threads any more
        waiting = [_threads(os.getpid()).submit(work) for _ in range(helpers)]
    work()
    for helper in waiting:
        if not helper.cancel():
            helper.result()


@functools.cache
def _threads(process: int) -> ThreadPoolExecutor:
    """Return this process's pool: threads do not survive a fork."""
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix=f"selective_scan_{process}")


@functools.cache
def _table(dtype: torch.dtype) -> np.ndarray:
    from src.ops.scan.numba_vectors import constants

    return constants(np.float32 if dtype == torch.float32 else np.float64)


@functools.cache
def _kernel(name: str) -> Callable[..., Any]:
    logging.getLogger(__name__).debug(
        "loading (the first time ever: compiling) the %s kernel of the selective scan", name
    )
    from src.ops.scan import numba_kernels

    return getattr(numba_kernels, name)
