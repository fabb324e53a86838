"""The scan in ONNX: one node while a network is traced, then an exact body of ONNX's own operators.

The body visits one token per iteration of ONNX's ``Scan``. Everything that does not depend on the state (Δ, Δ·u, the
order of the tokens) is computed before the loop for all tokens at once, in the shapes that the iteration needs; only
six small operators remain in the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from src.ops.scan.inputs import ScanInputs

if TYPE_CHECKING:
    import onnx

DOMAIN, OPERATOR = "run", "SelectiveScan"
OPSET = 18
_AS_NODE: ContextVar[bool] = ContextVar("_AS_NODE", default=False)


class Sizes(NamedTuple):
    """The sizes that a body is written for; the numbers of tokens and of images stay dynamic."""

    groups: int
    width: int
    """Channels of a group."""
    states: int
    rank: int
    """Rank of Δ."""


@contextmanager
def scans_as_nodes() -> Iterator[None]:
    """Trace every scan in the block as one node ``run::SelectiveScan``, which :func:`with_scan_bodies` replaces."""
    token = _AS_NODE.set(True)
    try:
        yield
    finally:
        _AS_NODE.reset(token)


def is_node() -> bool:
    """Return whether this runs inside :func:`scans_as_nodes`."""
    return _AS_NODE.get()


def node(inputs: ScanInputs) -> Tensor:
    """Return y of a scan that is traced, not computed.

    Args:
        inputs: with all optional arguments, and with the rows of u shared by all groups, as in
            :class:`src.models.vss.SS2D`.

    Raises:
        ValueError: a scan of another form.
    """
    *tensors, delta_softplus = inputs
    rows, states = inputs.A.shape
    groups = inputs.B.shape[1]
    if any(one is None for one in tensors) or not delta_softplus or inputs.u.shape[1] * groups != rows:
        raise ValueError(
            "only scans of one map in several orders, with D, delta_bias, delta_softplus and delta_proj, are exported"
        )
    assert inputs.delta_proj is not None
    sizes = Sizes(groups, rows // groups, states, inputs.delta_proj.shape[1])
    return torch.onnx.ops.symbolic(
        f"{DOMAIN}::{OPERATOR}", tensors, sizes._asdict(), dtype=inputs.u.dtype, shape=inputs.u.shape, version=1
    )


def with_scan_bodies(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model in which every node of :func:`node` is replaced by the operators that compute it."""
    import onnx
    from onnx.inliner import inline_local_functions

    found: dict[Sizes, str] = {}
    for one in model.graph.node:
        if (one.domain, one.op_type) == (DOMAIN, OPERATOR):
            sizes = Sizes(*(next(a.i for a in one.attribute if a.name == name) for name in Sizes._fields))
            one.op_type = found.setdefault(sizes, f"{OPERATOR}{len(found)}")
            del one.attribute[:]
    model.functions.extend(scan_function(name, sizes) for sizes, name in found.items())
    if found and not any(one.domain == DOMAIN for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    model = inline_local_functions(model) if found else model
    own = [one for one in model.opset_import if one.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(own)
    return model


def with_own_constants(model: onnx.ModelProto) -> onnx.ModelProto:
    """Move the decays A, once they are constants, into the iterations that use them.

    In some runtimes an iteration cannot use values from outside.
    """
    constants = {one.name: one for one in model.graph.initializer}
    for one in model.graph.node:
        for body in (attribute.g for attribute in one.attribute if one.op_type == "Scan" and attribute.name == "body"):
            read = {name for inner in body.node for name in inner.input}
            body.initializer.extend(constants[name] for name in sorted(read & constants.keys()))
    used = {name for one in model.graph.node for name in one.input} | {one.name for one in model.graph.output}
    kept = [one for name, one in constants.items() if name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return model


def scan_function(name: str, sizes: Sizes) -> onnx.FunctionProto:
    """Return the scan as an ONNX function of :func:`node`'s inputs, in the order of :class:`ScanInputs`; output y."""
    from onnx.parser import parse_function

    head = f'<domain: "{DOMAIN}", opset_import: ["" : {OPSET}]> '
    head += f"{name} (u, delta, A, B, C, D, delta_bias, delta_proj, order) => (y)"
    function: onnx.FunctionProto = parse_function(f"{head} {{{_constants(sizes)}{_BEFORE}{_iteration(sizes)}{_AFTER}}}")
    return function


def _constants(sizes: Sizes) -> str:
    """Return the shapes and axes that the parts below use by name; in a shape 0 keeps an axis and −1 is the rest."""
    g, d, s, r = sizes
    values = {
        "axis0": [0],
        "axis3": [3],
        "axis4": [4],
        "last": [2],
        "groups": [g],
        "low_shape": [0, g, r, -1],
        "proj_shape": [g, 1, d, r],
        "bias_shape": [g, 1, 1, d],
        "D_shape": [g, d],
        "A_shape": [g, 1, d, s],
        "row_d": [d],
        "row_s": [s],
        "any": [-1],
        "state_ends": [s, d],
    }
    ids = f"group = Constant <value = int64[{g},1] {{{', '.join(map(str, range(g)))}}}> ()\n"
    return ids + "".join(f"{name} = Constant <value_ints = {value}> ()\n" for name, value in values.items())


_BEFORE = """
shape = Shape (u)
batch = Gather <axis = 0> (shape, axis0)
length = Gather <axis = 0> (shape, last)
visits = Cast <to = 7> (order)
offset = Mul (group, length)
routed = Add (visits, offset)
route = Transpose <perm = [1, 0]> (routed)
tokens = Transpose <perm = [2, 0, 1]> (u)
own = Transpose <perm = [1, 0]> (visits)
x = Gather <axis = 0> (tokens, own)
low = Reshape (delta, low_shape)
low_rows = Transpose <perm = [1, 0, 3, 2]> (low)
proj = Reshape (delta_proj, proj_shape)
proj_t = Transpose <perm = [0, 1, 3, 2]> (proj)
product = MatMul (low_rows, proj_t)
bias = Reshape (delta_bias, bias_shape)
raw = Add (product, bias)
positive = Relu (raw)
size = Abs (raw)
negative = Neg (size)
small = Exp (negative)
one = Constant <value = float {1.0}> ()
above_one = Add (small, one)
rest = Log (above_one)
softplus = Add (positive, rest)
softplus_t = Transpose <perm = [0, 2, 1, 3]> (softplus)
rows_d = Concat <axis = 0> (any, batch, row_d)
softplus_rows = Reshape (softplus_t, rows_d)
step_rows = Gather <axis = 0> (softplus_rows, route)
drive_rows = Mul (x, step_rows)
step = Unsqueeze (step_rows, axis3)
drive = Unsqueeze (drive_rows, axis3)
rows_s = Concat <axis = 0> (any, batch, row_s)
B_t = Transpose <perm = [1, 3, 0, 2]> (B)
B_rows = Reshape (B_t, rows_s)
B_visits = Gather <axis = 0> (B_rows, route)
b = Unsqueeze (B_visits, axis4)
C_t = Transpose <perm = [1, 3, 0, 2]> (C)
C_rows = Reshape (C_t, rows_s)
C_visits = Gather <axis = 0> (C_rows, route)
c = Unsqueeze (C_visits, axis3)
A_g = Reshape (A, A_shape)
A_t = Transpose <perm = [0, 1, 3, 2]> (A_g)
state_shape = Concat <axis = 0> (groups, batch, state_ends)
start = ConstantOfShape (state_shape)
"""
"""Tokens in the order of their visits, time first: step and drive (Δ, Δ·u) are (L,G,N,1,d), b (L,G,N,S,1), c
(L,G,N,1,S). Softplus is made of Relu, Exp and Log, which onnxruntime vectorises, unlike its own Softplus."""


def _iteration(sizes: Sizes) -> str:
    """Return the recurrence, h ← exp(Δ·A)·h + (Δ·u)·b and y = c·h, over the states (G,N,S,d)."""
    g, d, s, _ = sizes
    return f"""
end, outputs = Scan <num_scan_inputs = 4, body = token
  (float[{g},n,{s},{d}] h, float[{g},n,1,{d}] step_now, float[{g},n,1,{d}] drive_now,
   float[{g},n,{s},1] b_now, float[{g},n,1,{s}] c_now)
  => (float[{g},n,{s},{d}] h_next, float[{g},n,1,{d}] y_now) {{
  exponent = Mul (step_now, A_t)
  decay = Exp (exponent)
  kept = Mul (decay, h)
  added = Mul (b_now, drive_now)
  h_next = Add (kept, added)
  y_now = MatMul (c_now, h_next)
}}> (start, step, drive, b, c)
"""


_AFTER = """
output_rows = Reshape (outputs, rows_d)
zero = Constant <value = int64 {0}> ()
next = Constant <value = int64 {1}> ()
length_0 = Squeeze (length, axis0)
steps = Range (zero, length_0, next)
order_shape = Shape (visits)
every = Expand (steps, order_shape)
inverse = ScatterElements <axis = 1> (every, visits, every)
inverse_rows = Mul (inverse, groups)
back = Add (inverse_rows, group)
y_groups = Gather <axis = 0> (output_rows, back)
y_sum = ReduceSum <keepdims = 0> (y_groups, axis0)
D_g = Reshape (D, D_shape)
D_sum = ReduceSum <keepdims = 0> (D_g, axis0)
skip = Mul (tokens, D_sum)
y_tokens = Add (y_sum, skip)
y = Transpose <perm = [1, 2, 0]> (y_tokens)
"""
"""The output of group g at step t is row t·G + g. Outputs are put back at their tokens and summed over the groups."""
