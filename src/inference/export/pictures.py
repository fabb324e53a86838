"""The two ends of an exported file: pictures of any size in and masks of their size out, or plain float tensors."""

from __future__ import annotations

from collections.abc import Iterable

import onnx
from onnx.compose import add_prefix, merge_models
from onnx.parser import parse_model

from src.data.pillow_resize import pillow_order
from src.inference.export.resize import SIZE, SMALL, resize_graph
from src.inference.export.trace import IMAGE, LOGITS, NET
from src.inference.onnx_network import MASK
from src.ops.scan.onnx import OPSET


def with_pictures(model: onnx.ModelProto, side: int) -> onnx.ModelProto:
    """Put resizing into a graph; `src.inference.onnx_network` defines what goes in and out.

    The picture is brought to the network's square by Pillow's antialiased bilinear filter, as in training and with the
    same bits (:mod:`src.inference.export.resize`). The logits are enlarged bilinearly, as
    :func:`src.models.outputs.masks_at_size` does. Maps of stages become uint8 (h, w), backgrounds (h, w, 3), in the
    resolution that the network has them in.

    Args:
        model: of :func:`src.inference.export.trace.traced_graph`, for one size.
        side: that size in pixels.
    """
    axes = {one.name: one.type.tensor_type.shape.dim for one in model.graph.output if one.name != LOGITS}
    maps = {name.removeprefix(NET): [axis.dim_value for axis in shape[1:]] for name, shape in axes.items()}
    whole = merge_models(picture_to_image(model, side), model, io_map=[(IMAGE, IMAGE)])
    return merge_models(whole, _after(model, side, maps), io_map=[(name, name) for name in (SIZE, LOGITS, *axes)])


def with_probabilities(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace the logits of a graph by ``mask``, float32 (N,1,H,W) in [0,1]."""
    model, graph = onnx.ModelProto(), model
    model.CopyFrom(graph)
    before = list(graph.graph.output)
    after = [MASK, *(one.name.removeprefix(NET) for one in before[1:])]
    del model.graph.output[:]
    for kind, old, new in zip(("Sigmoid", *["Identity"] * len(before)), before, after, strict=False):
        model.graph.node.append(onnx.helper.make_node(kind, [old.name], [new], new))
        value = model.graph.output.add()
        value.CopyFrom(old)
        value.name = new
    return model


def picture_to_image(model: onnx.ModelProto, side: int) -> onnx.ModelProto:
    """Return a graph that turns a picture into the network's image, and returns the picture's size.

    Args:
        model: the graph that this one is merged with; it has the same versions.
        side: of the image, in pixels.
    """
    to_image = _parsed(
        model,
        f"""before (uint8[3, {side}, {side}] {SMALL}) => (float[1, 3, {side}, {side}] {IMAGE}) {{
        first = Constant <value_ints = [0]> ()
        batch = Unsqueeze ({SMALL}, first)
        levels = Cast <to = {onnx.TensorProto.FLOAT}> (batch)
        white = Constant <value = float {{255.0}}> ()
        {IMAGE} = Div (levels, white)
        }}""",
    )
    resize = resize_graph(model.ir_version, side, by_shrinkage=pillow_order() == "by shrinkage")
    return merge_models(resize, to_image, io_map=[(SMALL, SMALL)])


def _after(model: onnx.ModelProto, side: int, maps: dict[str, list[int]]) -> onnx.ModelProto:
    """Return the graph from logits and picture size to the mask, and from the stages' maps to uint8."""
    inputs = [f"int64[2] {SIZE}", f"float[1, 1, {side}, {side}] {LOGITS}"]
    outputs = [f"uint8[height, width] {MASK}"]
    lines = []
    for name, (channels, height, width) in maps.items():
        inputs.append(f"float[1, {channels}, {height}, {width}] {NET}{name}")
        lines += _levels(NET + name, f"{name}_levels")
        if channels == 1:
            outputs.append(f"uint8[{height}, {width}] {name}")
            lines.append(f"{name} = Squeeze ({name}_levels, both)")
        else:
            outputs.append(f"uint8[{height}, {width}, {channels}] {name}")
            lines += [
                f"{name}_last = Transpose <perm = [0, 2, 3, 1]> ({name}_levels)",
                f"{name}_first = Constant <value_ints = [0]> ()",
                f"{name} = Squeeze ({name}_last, {name}_first)",
            ]
    return _parsed(
        model,
        f"""after ({", ".join(inputs)}) => ({", ".join(outputs)}) {{
        white = Constant <value = float {{255.0}}> ()
        both = Constant <value_ints = [0, 1]> ()
        ones = Constant <value_ints = [1, 1]> ()
        shape = Concat <axis = 0> (ones, {SIZE})
        large = Resize <mode = "linear"> ({LOGITS}, , , shape)
        probability = Sigmoid (large)
        {_lines(_levels("probability", "levels"))}
        {MASK} = Squeeze (levels, both)
        {_lines(lines)}
        }}""",
    )


def _levels(name: str, levels: str) -> list[str]:
    """Return the lines from a map in [0, 1] to round(255 · map), uint8."""
    return [
        f"{levels}_scaled = Mul ({name}, white)",
        f"{levels}_rounded = Round ({levels}_scaled)",
        f"{levels} = Cast <to = {onnx.TensorProto.UINT8}> ({levels}_rounded)",
    ]


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _parsed(model: onnx.ModelProto, graph: str) -> onnx.ModelProto:
    """Return a graph's text as a model with the versions of ``model``; a prefix keeps their inner names apart."""
    parsed = parse_model(f'<ir_version: {model.ir_version}, opset_import: ["" : {OPSET}]> {graph}')
    return add_prefix(parsed, f"{parsed.graph.name}_", rename_inputs=False, rename_outputs=False)
