"""The Triton backend against the loop in float64, as far as that can be known without a GPU.

Here: what the kernels compute (in Triton's interpreter, on the CPU), and that they compile for real GPUs without
atomics or double precision. Only the tests marked ``gpu`` can say whether the compiled kernels agree too. Interpreter
and compiler run in processes of their own: Triton decides when it is imported which of the two it is.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from src.ops import available_backends, selective_scan
from src.ops.scan import layout, triton_cuda
from src.ops.scan.inputs import ScanInputs
from src.ops.scan.op import scan as operator
from tests.fixtures.processes import run_code
from tests.fixtures.triton_cases import CASES, NAMES, assert_exact, scan_arguments, scan_case, with_gradients


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("triton") / "answers.pt"
    pytest.importorskip("triton")
    run_code(
        "import sys; from tests.fixtures import triton_cases; triton_cases.interpret(sys.argv[1])",
        path,
        TRITON_INTERPRET="1",
    )
    return torch.load(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_equal_the_loop_in_float64(answers, name):
    case = CASES[name]
    y, _, *gradients = answers[name]["runs"][0]
    got = {"y": y, **dict(zip(NAMES, gradients, strict=False))}
    expected = with_gradients(case, "loop", torch.float64)
    assert [NAMES[i] for i, x in enumerate(gradients) if x.numel() == 0] == [x for x in NAMES[:-1] if x not in expected]
    assert_exact(got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_shapes_and_strides_are_those_that_the_operator_promises(answers, name, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK", CASES[name]["cut"][0])
    inputs = ScanInputs(*(CASES[name]["arguments"].get(argument) for argument in NAMES), CASES[name]["softplus"])
    promised = [layout.empty_map(inputs.u, inputs.by_token), layout.empty_states(inputs.u, inputs.A, inputs.B)]
    promised += layout.empty_gradients(inputs)
    got = zip(answers[name]["runs"][0], answers[name]["strides"], strict=True)
    assert [(x.shape, strides) for x, strides in got] == [(x.shape, x.stride()) for x in promised]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parts", "four directions"])
def test_two_runs_are_bit_identical(answers, name):
    first, second = answers[name]["runs"]
    assert all(torch.equal(x, again) for x, again in zip(first, second, strict=True))


@pytest.mark.slow
def test_the_kept_states_are_those_of_the_recurrence(answers):
    """After 0 and after 128 of 131 steps, for two channels of one state."""
    given = CASES["two real chunks"]["arguments"]
    steps = torch.nn.functional.softplus(given["delta"] + given["delta_bias"][:, None])[0].double()
    h = torch.zeros(2, dtype=torch.float64)
    for t in range(128):
        h = torch.exp(steps[:, t] * given["A"][:, 0]) * h + steps[:, t] * given["u"][0, :, t] * given["B"][0, 0, 0, t]
    kept = answers["two real chunks"]["runs"][0][1]
    assert kept.shape == (1, 1, 2, 1, 2, 16)
    assert kept[0, 0, 0].count_nonzero() == 0
    torch.testing.assert_close(kept[0, 0, 1, 0, 0, :2].double(), h, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
def test_by_way_of_the_operator_and_autograd(answers):
    assert_exact(answers["operator"], with_gradients(CASES["four directions"], "loop", torch.float64))


@pytest.mark.slow
def test_compiles_for_gpus_without_atomics_and_without_double_precision(tmp_path):
    pytest.importorskip("triton")
    code = "from tests.fixtures import triton_cases; triton_cases.compile_for(80, 90)"
    ptx = run_code(code, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert [ptx.count(f".entry {name}(") for name in ("summaries", "chain", "outputs", "gradients")] == [8, 8, 4, 4]
    assert [ptx.count(f".target sm_{capability}") for capability in (80, 90)] == [12, 12]
    assert not [line for line in ptx.splitlines() if line.strip().startswith(("atom.", "red."))]
    assert ".f64" not in ptx


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"length": 0}])
def test_nothing_to_scan(sizes):
    arguments = scan_arguments(sharing=2, rank=2, order=True, **sizes)
    inputs = ScanInputs(*(arguments.get(argument) for argument in NAMES), True)
    y, states = triton_cuda.forward(inputs, True)
    assert y.shape == inputs.u.shape
    gradients = triton_cuda.backward(y, states, inputs)
    assert [x.shape for x in gradients] == [x.shape for x in inputs[:8]]
    assert not any(x.any() for x in gradients)


def test_states_are_kept_on_demand_only():
    arguments = scan_arguments(batch=0)
    inputs = ScanInputs(*(arguments.get(argument) for argument in NAMES), True)
    assert triton_cuda.forward(inputs, False)[1].shape == (0,)


@pytest.mark.parametrize(
    ("module", "reason"),
    [(None, "triton cannot be imported"), (SimpleNamespace(__version__="3.1.0"), "triton 3.1.0 is too old")],
)
def test_a_missing_or_old_triton_is_a_reason_not_a_failure(monkeypatch, module, reason):
    monkeypatch.setitem(sys.modules, "triton", module)
    assert available_backends()["triton"].startswith(reason)
    case = scan_case()
    with pytest.raises(ValueError, match=f"backend=triton cannot be used here: {reason}"):
        selective_scan(**case["arguments"], backend="triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_reason_says_so():
    assert available_backends()["triton"] == "torch has no CUDA device"


@pytest.mark.slow
def test_importing_the_operator_imports_no_kernels_and_needs_no_triton():
    code = "import sys; sys.modules['triton'] = None; import src.ops; "
    code += "print([name for name in sys.modules if name.endswith('_kernels')])"
    assert run_code(code).split() == ["[]"]


def gpu(test: Any) -> Any:
    """What only a GPU can confirm: that the compiled kernels compute what the interpreted ones do."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


LARGE = {
    "as in RUN": scan_case(sharing=4, batch=2, width=32, states=16, length=2304, rank=2, order=True, by_token=True),
    "one state": scan_case(shared=4, width=48, states=1, length=1000),
    "odd sizes": scan_case(shared=2, sharing=2, batch=3, width=37, states=5, length=389, order=True),
    "many states": scan_case(width=4, states=64, length=300),
}


@gpu
@pytest.mark.parametrize("name", CASES)
def test_gpu_small_cases_equal_the_loop(name, monkeypatch):
    for module, option, value in zip(
        (layout, triton_cuda, triton_cuda), ("CHUNK", "TILE", "PROGRAMS"), CASES[name]["cut"], strict=True
    ):
        monkeypatch.setattr(module, option, value)
    assert_exact(
        with_gradients(CASES[name], "triton", torch.float32, "cuda"), with_gradients(CASES[name], "loop", torch.float64)
    )


@gpu
@pytest.mark.parametrize("name", LARGE)
def test_gpu_large_cases_equal_the_loop_twice_to_the_bit(name):
    first, second = (with_gradients(LARGE[name], "triton", torch.float32, "cuda") for _ in range(2))
    assert all(torch.equal(x, second[argument]) for argument, x in first.items())
    assert_exact(first, with_gradients(LARGE[name], "loop", torch.float64, "cuda"))


@gpu
def test_gpu_auto_takes_triton():
    assert available_backends()["triton"] is None
    automatic, triton = (
        with_gradients(LARGE["odd sizes"], backend, torch.float32, "cuda") for backend in ("auto", "triton")
    )
    assert all(torch.equal(x, triton[name]) for name, x in automatic.items())


@gpu
@pytest.mark.parametrize("name", ["four directions", "18 channels"])
def test_gpu_operator_obeys_the_rules_of_torch(name):
    given = [CASES[name]["arguments"].get(argument) for argument in NAMES]
    given = [x if x is None else x.cuda().requires_grad_(x.dtype.is_floating_point) for x in given]
    torch.library.opcheck(operator, (*given, True, True))
