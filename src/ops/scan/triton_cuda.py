"""The scan on a GPU: Triton kernels, forward and analytic backward, which Triton compiles on first use.

The division of the work into programs only depends on the shapes. Torch computes what is not a scan: a low-rank Δ and
its gradients, and the sum over groups that share rows (each group writes its own map).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from src.ops.scan import layout
from src.ops.scan.inputs import Gradients, ScanInputs

OLDEST = (3, 4)
"""The first version of Triton that accepts tuples (of strides) without known bugs; it comes with torch 2.8."""

TILE = 2048
"""Numbers (channels · states · steps) that a program handles at once, unless a single channel has more."""

WARP = 128
"""Numbers of a tile that a warp of 32 threads handles: with more, the backward pass runs out of registers."""

PROGRAMS = 1024
"""Number of programs that keeps a large GPU busy: if there are fewer chunks, their channels are split into parts."""


def unavailable() -> str | None:
    """Return None if Triton can be imported and torch has a CUDA device, else the reason."""
    try:
        import triton
    except Exception as error:
        return f"triton cannot be imported ({error})"
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < OLDEST:
        return f"triton {triton.__version__} is too old, {'.'.join(map(str, OLDEST))} would do"
    return None if torch.cuda.is_available() else "torch has no CUDA device"


def forward(inputs: ScanInputs, keep_states: bool) -> tuple[Tensor, Tensor]:
    """Return y, and the states before each chunk (empty without ``keep_states``)."""
    u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus = inputs
    cut, by_token = _cut(u, A, B), inputs.by_token
    A, (D, delta_bias, order) = A.contiguous(), (None if x is None else x.contiguous() for x in (D, delta_bias, order))
    step = _full_delta(delta, delta_proj, cut.groups, by_token)
    y = _a_map_each_group(u, by_token, cut)
    states = _carries(u, step, A, B, delta_bias, order, cut, delta_softplus, backward=False)
    maps = [_rows(u, cut), step, B, C, _rows(y, cut)]
    tensors = [*maps[:2], A, B, C, D, delta_bias, order, states, maps[-1]]
    _launch("outputs", cut.programs, [*tensors, *_strides(maps)], cut, SOFTPLUS=delta_softplus, CHUNK=cut.steps)
    return _over_sharing(y, cut), states if keep_states else u.new_empty(0)


def backward(dy: Tensor, states: Tensor, inputs: ScanInputs) -> Gradients:
    """Return the gradients, from the gradient of y and the states before each chunk."""
    u, delta, A, B, C, D, delta_bias, delta_proj, order, delta_softplus = inputs
    cut, by_token = _cut(u, A, B), inputs.by_token
    batch, groups, states_a_group, length = B.shape
    A, (D, delta_bias, order) = A.contiguous(), (None if x is None else x.contiguous() for x in (D, delta_bias, order))
    step = _full_delta(delta, delta_proj, groups, by_token)
    d_delta = layout.empty_map(delta, by_token or delta_proj is not None)
    d_step = torch.empty_like(step) if delta_proj is not None else _by_group(d_delta, groups)
    du = _a_map_each_group(u, by_token, cut)
    dA, dD, d_bias = (
        A.new_empty(batch, groups, cut.chunks, cut.width, *columns) for columns in ((states_a_group,), (), ())
    )
    dB, dC = (B.new_empty(cut.parts, batch, length, groups, states_a_group) for _ in "BC")

    adjoints = _carries(dy, step, A, C, delta_bias, order, cut, delta_softplus, backward=True)
    maps = [_rows(dy, cut), _rows(u, cut), step, B, C, _rows(du, cut), d_step, dB[0].permute(0, 2, 3, 1)]
    tensors = [*maps[:3], A, B, C, D, delta_bias, order, states, adjoints, *maps[5:7], dA, dB, dC, dD, d_bias]
    arguments = [*tensors, *_strides(maps), dB.stride(0)]
    _launch("gradients", cut.programs, arguments, cut, SOFTPLUS=delta_softplus, CHUNK=cut.steps)

    d_proj = u.new_empty(0)
    if delta_proj is not None:
        weights, low = _by_group(delta_proj, groups, 0), _by_group(delta, groups)
        _by_group(d_delta, groups).copy_((d_step.mT @ weights).mT)
        d_proj = (d_step @ low.mT).sum(0).flatten(0, 1)
    dA, dD, d_bias = (x.sum((0, 2)).flatten(0, 1) for x in (dA, dD, d_bias))
    dD, d_bias = (u.new_empty(0) if given is None else x for x, given in ((dD, D), (d_bias, delta_bias)))
    dB, dC = ((x[0] if cut.parts == 1 else x.sum(0)).permute(0, 2, 3, 1) for x in (dB, dC))
    return _over_sharing(du, cut), d_delta, dA, dB, dC, dD, d_bias, d_proj


class _Cut(NamedTuple):
    """Sizes, and the division of the work. The first eight are passed to the kernels."""

    sharing: int
    """Groups that share the same rows of u."""
    groups: int
    length: int
    width: int
    """Channels of a group."""
    states: int
    chunks: int
    blocks: int
    """Blocks of channels in a group."""
    parts: int
    """Programs that share the blocks of a chunk."""
    channels: int
    """Channels of a block; a power of 2, like the next two."""
    padded_states: int
    steps: int
    """Steps of a chunk."""
    programs: int


def _cut(u: Tensor, A: Tensor, B: Tensor) -> _Cut:
    batch, u_rows, length = u.shape
    groups, states = B.shape[1:3]
    width = A.shape[0] // groups
    padded_states, steps = _power_of_2(states), min(layout.CHUNK, _power_of_2(length))
    channels = min(_power_of_2(width), max(1, TILE // (padded_states * steps)))
    chunks, blocks = -(-length // layout.CHUNK), -(-width // channels)
    tasks = batch * groups * chunks
    parts = min(blocks, -(-PROGRAMS // max(1, tasks)))
    sharing = groups * width // u_rows
    return _Cut(
        sharing, groups, length, width, states, chunks, blocks, parts, channels, padded_states, steps, tasks * parts
    )


def _power_of_2(size: int) -> int:
    return 1 << max(0, size - 1).bit_length()


def _by_group(x: Tensor, groups: int, dimension: int = 1) -> Tensor:
    return x.unflatten(dimension, (groups, x.shape[dimension] // groups))


def _rows(x: Tensor, cut: _Cut) -> Tensor:
    """Return a view of shape (N, groups of rows, d, L)."""
    return _by_group(x, x.shape[1] // cut.width)


def _strides(tensors: list[Tensor]) -> list[tuple[int, ...]]:
    return [x.stride() for x in tensors]


def _full_delta(delta: Tensor, weights: Tensor | None, groups: int, by_token: bool) -> Tensor:
    """Return Δ before bias and softplus as (N, G, d, L), in the layout of u.

    A low-rank Δ is as exact as torch's float32_matmul_precision makes matrix products.
    """
    delta = _by_group(delta, groups)
    if weights is None:
        return delta
    weights = _by_group(weights, groups, 0)
    return (delta.mT @ weights.mT).mT if by_token else weights @ delta


def _a_map_each_group(u: Tensor, by_token: bool, cut: _Cut) -> Tensor:
    """Return an uninitialised output like u; if groups share rows of u, with separate rows for every group."""
    if cut.sharing == 1:
        return layout.empty_map(u, by_token)
    return u.new_empty(u.shape[0], cut.length, cut.groups * cut.width).mT


def _over_sharing(x: Tensor, cut: _Cut) -> Tensor:
    """Return the sum over the groups that share rows, in the shape and layout of the output."""
    if cut.sharing == 1:
        return x
    return x.mT.unflatten(-1, (-1, cut.sharing, cut.width)).sum(3).flatten(2).mT


def _carries(
    x: Tensor,
    step: Tensor,
    A: Tensor,
    Z: Tensor,
    bias: Tensor | None,
    order: Tensor | None,
    cut: _Cut,
    softplus: bool,
    backward: bool,
) -> Tensor:
    """Return the states before each chunk (x, Z = u, B); ``backward``: gradients of those after it (x, Z = dy, C)."""
    local, carry = (layout.empty_states(x, A, Z).zero_() for _ in range(2))
    if cut.chunks > 1:
        total = x.new_empty(x.shape[0], cut.groups, cut.chunks, cut.width)
        maps = [_rows(x, cut), step, Z]
        tensors = [*maps[:2], A, Z, bias, order, local, total]
        _launch(
            "summaries",
            cut.programs,
            [*tensors, *_strides(maps)],
            cut,
            SOFTPLUS=softplus,
            BACKWARD=backward,
            CHUNK=cut.steps,
        )
        _launch("chain", x.shape[0] * cut.groups * cut.blocks, [local, total, A, carry], cut, BACKWARD=backward)
    return carry


def _launch(name: str, programs: int, arguments: list[Any], cut: _Cut, **more: Any) -> None:
    if programs == 0:
        return
    from src.ops.scan import triton_kernels

    kernel = getattr(triton_kernels, name)
    warps = min(16, max(1, cut.channels * cut.padded_states * more.get("CHUNK", 1) // WARP))
    with torch.cuda.device_of(arguments[0]):
        kernel[(programs,)](
            *arguments, sizes=tuple(cut[:8]), CHANNELS=cut.channels, STATES=cut.padded_states, num_warps=warps, **more
        )
