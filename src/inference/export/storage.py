"""What an exported file holds besides its graph: half-precision weights where nothing is lost, and its origin."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SMALLEST = 256
"""Tensors of fewer values are stored as they are: the node that converts them back would take as much room."""
COMPUTED = ("Exp", "Neg", "Reshape", "Transpose")
"""Operators on weights that are computed at export; their results have as many values as the weights."""
HALF = "_half"
"""Suffix of the name of a tensor that is stored in half precision."""


def tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph without what PyTorch's exporter leaves in it.

    That is constants that can be computed now, unused nodes, and notes on where nodes came from. BatchNorm is not
    folded into convolutions: the folded weights would not fit half precision without loss.
    """
    from onnxscript import ir
    from onnxscript.optimizer import fold_constants, inline, remove_unused_nodes

    parsed = ir.serde.deserialize_model(model)
    inline(parsed)
    fold_constants(parsed, should_fold=_is_computed)
    remove_unused_nodes(parsed)
    parsed.functions.clear()
    tidy = ir.serde.serialize_model(parsed)
    tidy.doc_string = ""
    for graph in _graphs(tidy.graph):
        del graph.value_info[:]
        for one in (*graph.node, *graph.initializer, *graph.input, *graph.output):
            one.doc_string = ""
            del one.metadata_props[:]
        del graph.metadata_props[:]
    del tidy.metadata_props[:]
    return tidy


def _is_computed(node: Any) -> bool | None:
    """Return whether a node of constant inputs is computed now; None leaves it to the size of the inputs."""
    if node.op_type == "Range":  # the order of the tokens takes less room as a range than as a list
        return False
    return True if node.op_type in COMPUTED else None


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def in_half_where_exact(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store each float32 tensor as float16 if every value of it stays the same.

    The runtime turns it back when it loads the file.
    """
    casts, kept = [], []
    for tensor in model.graph.initializer:
        half = _exact_half(tensor)
        kept.append(tensor if half is None else numpy_helper.from_array(half, tensor.name + HALF))
        if half is not None:
            casts.append(
                helper.make_node("Cast", [tensor.name + HALF], [tensor.name], tensor.name + HALF, to=TensorProto.FLOAT)
            )
    nodes = [*casts, *model.graph.node]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    return model


def _exact_half(tensor: onnx.TensorProto) -> np.ndarray | None:
    if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < SMALLEST:
        return None
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), values) else None


def with_metadata(
    model: onnx.ModelProto, config: Mapping[str, Any], note: str, image_size: int, pre_post: bool
) -> onnx.ModelProto:
    """Write the metadata that `src.inference.onnx_network` reads into a model."""
    values = {
        "config": json.dumps(config),
        "note": note,
        "image_size": str(image_size),
        "pre_post": str(pre_post).lower(),
    }
    helper.set_model_props(model, values)
    model.producer_name, model.producer_version = "reversible-unfolding-network", config.get("commit", "")
    return model
