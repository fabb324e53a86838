"""The scan's body in ONNX against the loop, in onnxruntime: one session for all lengths and batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from src.ops import selective_scan
from src.ops.scan.inputs import ScanInputs
from src.ops.scan.onnx import DOMAIN, OPERATOR, OPSET, Sizes, node, with_scan_bodies

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

SIZES = Sizes(groups=4, width=6, states=5, rank=2)
TENSORS = ScanInputs._fields[:-1]


@pytest.fixture(scope="module")
def session() -> Any:
    """A model that is one scan, of any length and batch."""
    types = {name: onnx.TensorProto.INT32 if name == "order" else onnx.TensorProto.FLOAT for name in TENSORS}
    inputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name, kind in types.items()]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    one = onnx.helper.make_node(OPERATOR, list(TENSORS), ["y"], domain=DOMAIN, **SIZES._asdict())
    graph = onnx.helper.make_graph([one], "scan", inputs, [output])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=10)
    return onnxruntime.InferenceSession(with_scan_bodies(model).SerializeToString(), providers=["CPUExecutionProvider"])


def _inputs(batch: int, length: int) -> dict[str, Tensor]:
    """Random arguments of a scan in four orders; decays from weak to strong."""
    generator = torch.Generator().manual_seed(length)
    groups, width, states, rank = SIZES

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    return {
        "u": normal(batch, width, length),
        "delta": normal(batch, groups * rank, length),
        "A": -normal(groups * width, states).exp(),
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(groups * width),
        "delta_bias": normal(groups * width) - 1,
        "delta_proj": normal(groups * width, rank),
        "order": torch.stack([torch.randperm(length, generator=generator) for _ in range(groups)]).int(),
    }


def _error(session: Any, inputs: dict[str, Tensor]) -> float:
    """Largest difference to the loop in float64, over the largest value."""
    exact = {name: value if name == "order" else value.double() for name, value in inputs.items()}
    expected = selective_scan(**exact, delta_softplus=True, backend="loop")
    (got,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    return float((torch.from_numpy(got) - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (2, 2), (3, 7), (1, 64), (2, 300)])
def test_it_equals_the_loop(session, batch, length):
    assert _error(session, _inputs(batch, length)) < 2e-6


def test_strong_decays_leave_the_drive_alone(session):
    inputs = _inputs(2, 40)
    inputs["A"] = torch.full_like(inputs["A"], -1e6)
    assert _error(session, inputs) < 2e-6


def test_no_step_no_change(session):
    """Δ = 0 keeps the state at 0: what remains is D·u."""
    inputs = _inputs(2, 40)
    inputs["delta_proj"].zero_()
    inputs["delta_bias"] = torch.full_like(inputs["delta_bias"], -200.0)
    (got,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
    torch.testing.assert_close(torch.from_numpy(got), inputs["D"].view(4, -1, 1).sum(0) * inputs["u"])


def test_large_steps_do_not_overflow(session):
    """Softplus of 200 is 200."""
    inputs = _inputs(1, 20)
    inputs["delta_bias"] = torch.full_like(inputs["delta_bias"], 200.0)
    assert _error(session, inputs) < 2e-6


def test_other_scans_are_refused():
    inputs = _inputs(1, 5)
    with pytest.raises(ValueError, match="with D, delta_bias, delta_softplus and delta_proj, are exported"):
        node(ScanInputs(**inputs, delta_softplus=False))
    with pytest.raises(ValueError, match="are exported"):
        node(ScanInputs(**{**inputs, "D": None}, delta_softplus=True))
