"""What a file holds besides its graph."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from src.inference.export.storage import SMALLEST, in_half_where_exact


def _added(values: np.ndarray) -> onnx.ModelProto:
    """Return a model that adds a constant."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, values.shape) for name in "xy")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "add", [x], [y], [numpy_helper.from_array(values, "w")]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _stored_and_read(values: np.ndarray) -> tuple[int, np.ndarray]:
    """Return how a constant is stored, and what a runtime reads of it."""
    model = in_half_where_exact(_added(values))
    (tensor,) = model.graph.initializer
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return tensor.data_type, session.run(None, {"x": np.zeros_like(values)})[0]


def test_half_where_no_value_changes():
    exact = np.arange(SMALLEST, dtype=np.float32) / 8
    for values, stored in (
        (exact, TensorProto.FLOAT16),
        (exact + np.float32(1e-5), TensorProto.FLOAT),
        (np.full(SMALLEST, 1e5, np.float32), TensorProto.FLOAT),
        (exact[1:], TensorProto.FLOAT),  # small ones stay
    ):
        kind, read = _stored_and_read(values)
        assert kind == stored
        np.testing.assert_array_equal(read, values)
