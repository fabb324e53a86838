"""Pillow's antialiased bilinear resize as an ONNX graph, equal in every bit.

ONNX's own ``Resize`` with ``antialias`` computes weights in single precision, which changes some pixels by one level.
Here the weights are computed in double precision from the picture's size, rounded to 22 bits, and summed without error,
as :mod:`src.data.pillow_resize` does. Only operators that every runtime has are used. Columns are computed in blocks,
each by one small matrix product with the old columns that it reads.
"""

from __future__ import annotations

from math import gcd

import onnx
from onnx.compose import add_prefix
from onnx.inliner import inline_local_functions
from onnx.parser import parse_model

from src.data.pillow_resize import BITS
from src.inference.onnx_network import PICTURE
from src.ops.scan.onnx import OPSET

SMALL, SIZE = "small", "size"
"""Names of the outputs of :func:`resize_graph`."""
LARGEST_BLOCK = 16
"""Columns per matrix product; more would multiply more zeros."""
LOW = 1 << (BITS // 2)
"""Weights are multiplied in two parts, ``LOW`` · high + low, as sums in single precision are only exact below 2²⁴.

A product with a low part is at most 255 · ``LOW`` / 2. The sum of 64 of them, a shrinkage of 32 to 1, is thus exact for
any picture. With more weights it is, too, unless nearly all low parts have the same sign.
"""


def resize_graph(ir_version: int, side: int, by_shrinkage: bool) -> onnx.ModelProto:
    """Return the graph that resizes a picture to a square.

    Its input is ``picture``, uint8 (height, width, 3); its outputs are `SMALL`, uint8 (3, side, side), and `SIZE`, the
    int64 vector (height, width).

    Args:
        ir_version: ONNX IR version of the graph.
        side: side of the square in pixels.
        by_shrinkage: resize the height first if it shrinks by more than twice as many pixels as the width (Pillow 13);
            False: always the width first. The order matters, because values are rounded in between.
    """
    graph = f"""resize (uint8[height, width, 3] {PICTURE}) => (uint8[3, {side}, {side}] {SMALL}, int64[2] {SIZE}) {{
        {SIZE} = Shape <end = 2> ({PICTURE})
        square = Constant <value_ints = [{side}, {side}]> ()
        shrinkage = Sub ({SIZE}, square)
        planes = Transpose <perm = [2, 0, 1]> ({PICTURE})
        none = Constant <value_int = 0> ()
        moved = Abs (shrinkage)
        changes = ReduceMax <keepdims = 0> (moved)
        is_square = Equal (changes, none)
        {SMALL} = If <
            then_branch = keep () => (uint8[3, {side}, {side}] kept) {{ kept = Identity (planes) }},
            else_branch = change () => (uint8[3, {side}, {side}] changed) {{ {_both_passes(by_shrinkage)} }}
        > (is_square)
        }}"""
    head = f'<ir_version: {ir_version}, opset_import: ["" : {OPSET}, "run" : 1]>'
    model = inline_local_functions(parse_model(f"{head} {graph} {_narrow(side)}"))
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    return add_prefix(model, "resize_", rename_inputs=False, rename_outputs=False)


def _both_passes(by_shrinkage: bool) -> str:
    """Return the lines that compute ``changed`` from planes (3, height, width) and their ``shrinkage``."""
    return f"""
        factors = Constant <value_ints = [1, 2]> ()
        weighed = Mul (shrinkage, factors)
        least = Constant <value_ints = [0, {0 if by_shrinkage else 2**40}]> ()
        bounds = Max (weighed, least)
        rows, columns = Split <num_outputs = 2> (bounds)
        is_tall = Greater (rows, columns)
        height_first = Squeeze (is_tall)
        turned = If <
            then_branch = lay () => (uint8[3, width, height] lying) {{ lying = Transpose <perm = [0, 2, 1]> (planes) }},
            else_branch = leave () => (uint8[3, height, width] same) {{ same = Identity (planes) }}
        > (height_first)
        once = run.Narrow (turned)
        once_turned = Transpose <perm = [0, 2, 1]> (once)
        twice = run.Narrow (once_turned)
        twice_turned = Transpose <perm = [0, 2, 1]> (twice)
        changed = Where (height_first, twice, twice_turned)"""


def _narrow(side: int) -> str:
    """Return the ONNX function that resizes the last axis of planes (3, rows, columns) to ``side``."""
    block = gcd(side, LARGEST_BLOCK)
    return f"""<domain: "run", opset_import: ["" : {OPSET}]> Narrow (planes) => (narrowed) {{
        {_constants(side, block)}
        {_WEIGHTS}
        plane_shape = Shape <end = 2> (planes)
        row_shape = Concat <axis = 0> (last, old)
        pixels = Reshape (planes, row_shape)
        sums = Scan <num_scan_inputs = 2, body = columns
          (int64[1] start, float[?, {2 * block}] weights) => (float[?, {2 * block}] sum) {{
          end = Add (start, taps)
          part = Slice (pixels, start, end, one)
          levels = Cast <to = {onnx.TensorProto.FLOAT}> (part)
          sum = MatMul (levels, weights)
        }}> (starts, weights_of_parts)
        sums_int = Cast <to = {onnx.TensorProto.INT32}> (sums)
        sums_of_rows = Transpose <perm = [1, 0, 2]> (sums_int)
        part_shape = Constant <value_ints = [0, 0, 2, {block}]> ()
        sums_of_parts = Reshape (sums_of_rows, part_shape)
        high_sum, low_sum = Split <axis = 2, num_outputs = 2> (sums_of_parts)
        low_int = Constant <value = int32 {{{LOW}}}> ()
        high_scaled = Mul (high_sum, low_int)
        whole_sum = Add (high_scaled, low_sum)
        half_int = Constant <value = int32 {{{1 << (BITS - 1)}}}> ()
        raised_sum = Add (whole_sum, half_int)
        unit_int = Constant <value = int32 {{{1 << BITS}}}> ()
        means = Div (raised_sum, unit_int)
        bytes = Cast <to = {onnx.TensorProto.UINT8}> (means)
        side = Constant <value_ints = [{side}]> ()
        narrowed_shape = Concat <axis = 0> (plane_shape, side)
        narrowed = Reshape (bytes, narrowed_shape)
        }}"""


def _constants(side: int, block: int) -> str:
    """Return the numbers and axes that `_WEIGHTS` reads by name."""
    numbers = {"none": 0, "half": 0.5, "unit": 1, "new": side, "between": block - 1, "low_unit": LOW, "fine": 1 << BITS}
    lists = {
        "zero": [0],
        "one": [1],
        "two": [2],
        "last": [-1],
        "beyond": [2**62],
        "block_shape": [side // block, block, 1],
    }
    scalars = {"from_0": 0, "by_1": 1}
    return "\n".join(
        [f"{name} = Constant <value = double {{{float(value)}}}> ()" for name, value in numbers.items()]
        + [f"{name} = Constant <value_ints = {value}> ()" for name, value in lists.items()]
        + [f"{name} = Constant <value_int = {value}> ()" for name, value in scalars.items()]
    )


_WEIGHTS = f"""
old = Shape <start = 2> (planes)
old_double = Cast <to = {onnx.TensorProto.DOUBLE}> (old)
scale = Div (old_double, new)
reach = Max (scale, unit)
steepness = Div (unit, reach)

index = Range (none, new, unit)
middles = Add (index, half)
scaled = Mul (middles, scale)
centres = Reshape (scaled, block_shape)

between_centres = Mul (between, scale)
one_reach_more = Add (between_centres, reach)
span = Add (one_reach_more, reach)
span_up = Ceil (span)
span_int = Cast <to = {onnx.TensorProto.INT64}> (span_up)
enough = Add (span_int, one)
taps = Min (enough, old)

first_centres = Slice (centres, zero, one, one)
reached = Sub (first_centres, reach)
reached_middle = Sub (reached, half)
reached_down = Floor (reached_middle)
reached_int = Cast <to = {onnx.TensorProto.INT64}> (reached_down)
latest = Sub (old, taps)
not_beyond = Min (reached_int, latest)
begins = Max (not_beyond, zero)
starts = Squeeze (begins, two)

taps_scalar = Squeeze (taps, zero)
steps = Range (from_0, taps_scalar, by_1)
positions = Add (begins, steps)
positions_double = Cast <to = {onnx.TensorProto.DOUBLE}> (positions)
off_corner = Sub (positions_double, centres)
off = Add (off_corner, half)
off_in_reaches = Mul (off, steepness)
distance = Abs (off_in_reaches)
line = Sub (unit, distance)
triangle = Max (line, none)
running = CumSum (triangle, two)
total = Slice (running, last, beyond, two)
share = Div (triangle, total)
share_fine = Mul (share, fine)
share_raised = Add (share_fine, half)
weight = Floor (share_raised)

in_low_units = Div (weight, low_unit)
in_low_units_raised = Add (in_low_units, half)
high = Floor (in_low_units_raised)
high_weight = Mul (high, low_unit)
low = Sub (weight, high_weight)
parts = Concat <axis = 1> (high, low)
parts_float = Cast <to = {onnx.TensorProto.FLOAT}> (parts)
weights_of_parts = Transpose <perm = [0, 2, 1]> (parts_float)
"""
"""The weights of each block, (blocks, taps, high and low parts of its columns), and its first old column, (blocks, 1).

The weights of a new column are a triangle around its centre, as wide as two old or two new columns, whichever are
wider. The running sum adds from left to right, as Pillow does. Blocks at the edges are moved inwards, so that all
blocks have the same number of taps.
"""
