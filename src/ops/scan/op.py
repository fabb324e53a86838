"""The scan as one torch operator, `run::selective_scan`, with one set of compiled kernels per kind of device.

As an operator, `torch.compile` and `torch.export` treat it as a unit, and its output shapes are known without computing
anything; `flops.py` gives it an entry in torch's FLOP counter. Its backward pass is an operator too, which has no
derivative (for second derivatives take the `parallel` backend). Arguments are those of
:func:`src.ops.selective_scan`, without defaults, in float32 (on a CPU also float64).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from src.ops.scan import numba_cpu, triton_cuda
from src.ops.scan.inputs import Gradients, ScanInputs
from src.ops.scan.layout import empty_gradients, empty_map, empty_states

ARGUMENTS = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, "
    "Tensor? D, Tensor? delta_bias, Tensor? delta_proj, Tensor? order, bool delta_softplus"
)
"""The fields of :class:`ScanInputs` in the schema of the operators, which cannot take a tuple."""
GRADIENTS = f"({', '.join(['Tensor'] * 8)})"


@torch.library.custom_op(
    "run::selective_scan",
    mutates_args=(),
    device_types="cpu",
    schema=f"({ARGUMENTS}, bool keep_states) -> (Tensor, Tensor)",
)
def scan(*arguments: Any) -> tuple[Tensor, Tensor]:
    """Return y, and with ``keep_states`` the states that the backward pass needs."""
    *inputs, keep_states = arguments
    return numba_cpu.forward(ScanInputs(*inputs), keep_states)


@torch.library.custom_op(
    "run::selective_scan_backward",
    mutates_args=(),
    device_types="cpu",
    schema=f"(Tensor dy, Tensor states, {ARGUMENTS}) -> {GRADIENTS}",
)
def scan_backward(dy: Tensor, states: Tensor, *inputs: Any) -> Gradients:
    """Return the gradients of the inputs."""
    return numba_cpu.backward(dy, states, ScanInputs(*inputs))


@scan.register_kernel("cuda")
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    *inputs, keep_states = arguments
    return triton_cuda.forward(ScanInputs(*inputs), keep_states)


@scan_backward.register_kernel("cuda")
def _(dy: Tensor, states: Tensor, *inputs: Any) -> Gradients:
    return triton_cuda.backward(dy, states, ScanInputs(*inputs))


@scan.register_fake
def _(*arguments: Any) -> tuple[Tensor, Tensor]:
    *given, keep_states = arguments
    inputs = ScanInputs(*given)
    u, A, B = inputs.u, inputs.A, inputs.B
    return empty_map(u, inputs.by_token), empty_states(u, A, B) if keep_states else u.new_empty(0)


@scan_backward.register_fake
def _(dy: Tensor, states: Tensor, *inputs: Any) -> Gradients:
    return empty_gradients(ScanInputs(*inputs))


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.delta_softplus, _keep_states = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], *tensors)


def _backward(ctx: Any, dy: Tensor | None, _d_states: Tensor | None) -> tuple[Tensor | None, ...]:
    states, *tensors = ctx.saved_tensors
    if dy is None:
        return (None,) * 11
    gradients = scan_backward(dy, states, *tensors, ctx.delta_softplus)
    optional = zip(gradients[5:], tensors[5:8], strict=True)
    return (*gradients[:5], *(None if given is None else gradient for gradient, given in optional), None, None, None)


scan.register_autograd(_backward, setup_context=_save)
