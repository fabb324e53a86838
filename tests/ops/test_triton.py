"""The Triton backend against the loop in float64, as far as that can be known without a GPU.

Here: what the kernels compute (in Triton's interpreter, on the CPU), and that they compile for real GPUs without atomics or
double precision. Only the tests marked ``gpu`` can say whether the compiled kernels agree too. Interpreter and compiler run in
processes of their own: Triton decides when it is imported which of the two it is.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from src.ops import available_backends, selective_scan
from src.ops.scan import layout, numba_cpu, triton_cuda
from src.ops.scan.op import scan as operator

NAMES = ("u", "delta", "A", "B", "C", "D", "delta_bias", "delta_proj", "order")


def _arguments(
    batch=1, shared=1, sharing=1, width=3, states=3, length=7, rank=0,
    skip=True, bias=True, order=False, softplus=True, by_token=False, seed=0,
) -> dict[str, Tensor]:  # fmt: skip
    """Random arguments of a scan; Δ is positive with and without softplus."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        x = torch.randn(*shape, generator=generator)
        return x.movedim(-1, 1).contiguous().movedim(1, -1) if by_token and x.ndim > 2 else x

    groups = shared * sharing
    rows = groups * width
    positive = (lambda x: x) if softplus else torch.abs
    arguments = {
        "u": normal(batch, shared * width, length),
        "delta": positive(normal(batch, groups * (rank or width), length)),
        "A": -normal(rows, states).abs() - 0.1,
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
    }
    if skip:
        arguments["D"] = normal(rows)
    if bias:
        arguments["delta_bias"] = positive(normal(rows))
    if rank:
        arguments["delta_proj"] = positive(normal(rows, rank))
    if order:
        arguments["order"] = torch.stack([torch.randperm(length, generator=generator) for _ in range(groups)]).int()
    return arguments


def _case(softplus: bool = True, chunk: int = 8, tile: int = 64, programs: int = 1, **sizes: Any) -> dict[str, Any]:
    """One scan, and how finely it is cut: chunks of ``chunk`` steps, tiles of ``tile`` numbers, parts for ``programs`` programs."""
    return {"arguments": _arguments(softplus=softplus, **sizes), "softplus": softplus, "cut": (chunk, tile, programs)}


def _strided() -> dict[str, Any]:
    case = _case(batch=2, width=2, length=9)
    plain = case["arguments"]
    strided = {name: value.transpose(0, -1).contiguous().transpose(0, -1) for name, value in plain.items()}
    strided |= {"u": torch.stack([plain["u"], plain["u"]], -1)[..., 0], "B": plain["B"][:1].expand(2, -1, -1, -1)}
    assert not any(strided[name].is_contiguous() for name in ("u", "delta", "A", "B", "C"))
    return case | {"arguments": strided}


def _steep(length: int = 20) -> dict[str, Any]:
    """The decays of an S4D-real start and steps so long that some of the states underflow, others hardly decay."""
    case = _case(False, width=2, states=16, length=length, bias=False)
    steps = torch.logspace(-3, 1, length)[torch.randperm(length, generator=torch.Generator().manual_seed(5))]
    case["arguments"] |= {"A": -torch.arange(1.0, 17).repeat(2, 1), "delta": steps.expand(1, 2, -1).contiguous()}
    return case


def _fast() -> dict[str, Any]:
    """Every state is gone after a step: what is left of the one before must not come out as a difference of large numbers."""
    case = _case(False, states=2, length=12, bias=False)
    case["arguments"]["A"] = torch.full_like(case["arguments"]["A"], -9.0)
    case["arguments"]["delta"] = 2 + case["arguments"]["delta"] / 4
    return case


def _tails() -> dict[str, Any]:
    """Softplus from −14, where it is an exponential, to 20, where it does nothing."""
    case = _case(width=2, length=18, bias=False)
    case["arguments"]["delta"] = torch.linspace(-14, 20, 36).view(1, 2, 18)
    return case


def _random(seed: int) -> dict[str, Any]:
    draw = random.Random(seed)
    return _case(
        draw.random() < 0.7,
        draw.choice([2, 4, 8]),
        draw.choice([8, 16, 64]),
        draw.choice([1, 20]),
        batch=draw.randint(1, 2),
        shared=draw.randint(1, 2),
        sharing=draw.randint(1, 2),
        width=draw.randint(1, 3),
        states=draw.choice([1, 2, 3]),
        length=draw.randint(1, 11),
        rank=draw.choice([0, 0, 1, 2]),
        skip=draw.random() < 0.7,
        bias=draw.random() < 0.7,
        order=draw.random() < 0.5,
        by_token=draw.random() < 0.5,
        seed=seed,
    )


CASES: dict[str, dict[str, Any]] = {
    "one number": _case(False, width=1, states=1, length=1, skip=False, bias=False),
    "as it runs": _case(chunk=128, tile=2048, programs=1024, batch=2, width=5, states=2, length=6),
    "two real chunks": _case(chunk=128, tile=2048, width=2, states=1, length=131),
    "18 channels": _case(width=18, states=1, length=9, tile=32),
    "parts": _case(width=5, states=2, length=11, tile=16, programs=6),
    "four directions": _case(sharing=4, width=2, states=2, length=10, rank=2, order=True, by_token=True),
    "pairs of groups": _case(batch=2, shared=2, sharing=2, width=2, states=2, length=6, order=True),
    "strided": _strided(),
    "steep": _steep(),
    "fast": _fast(),
    "tails": _tails(),
    **{f"random {seed}": _random(seed) for seed in range(10)},
}


def _with_gradients(case: dict[str, Any], backend: str, dtype: torch.dtype, device: str = "cpu") -> dict[str, Tensor]:
    """y and the gradient of every argument by :func:`selective_scan` and autograd, on the CPU."""
    given = {name: x.to(device) if name == "order" else x.to(device, dtype) for name, x in case["arguments"].items()}
    leaves = {name: x.detach().requires_grad_() for name, x in given.items() if name != "order"}
    y = selective_scan(**(given | leaves), delta_softplus=case["softplus"], backend=backend)
    gradients = torch.autograd.grad(y, list(leaves.values()), _cotangent(y.shape).to(y))
    return {name: x.detach().cpu() for name, x in {"y": y, **dict(zip(leaves, gradients, strict=True))}.items()}


def _cotangent(shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def _relative_errors(got: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    return {name: ((got[name] - value).abs().max() / value.abs().max()).item() for name, value in expected.items()}


def _assert_exact(got: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    errors = _relative_errors(got, expected)
    assert errors.pop("y") < 2e-6
    assert max(errors.values()) < 2e-5, errors


def _elsewhere(code: str, *arguments: str | Path, **environment: str) -> str:
    """What ``code`` prints in a process of its own, where this file can be imported."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, env=os.environ | environment, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def interpret(answers: str) -> None:
    """In a process with TRITON_INTERPRET=1: what the backend answers to every case, twice; the first also by way of the operator."""
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    for name, case in CASES.items():
        layout.CHUNK, triton_cuda.TILE, triton_cuda.PROGRAMS = case["cut"]
        given = [case["arguments"].get(argument) for argument in NAMES]
        cotangent = _cotangent(given[0].shape)
        runs = []
        for _ in range(2 if name in ("parts", "four directions") else 1):
            y, states = triton_cuda.forward(*given, case["softplus"], True)
            runs.append((y, states, *triton_cuda.backward(cotangent, states, *given, case["softplus"])))
        found[name] = {"runs": runs, "strides": [x.stride() for x in runs[0]]}
    numba_cpu.forward, numba_cpu.backward = triton_cuda.forward, triton_cuda.backward
    layout.CHUNK, triton_cuda.TILE, triton_cuda.PROGRAMS = CASES["four directions"]["cut"]
    found["operator"] = _with_gradients(CASES["four directions"], "numba", torch.float32)
    torch.save(found, answers)


@pytest.fixture(scope="module")
def answers(tmp_path_factory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("triton") / "answers.pt"
    pytest.importorskip("triton")
    _elsewhere("import sys; from tests.ops import test_triton; test_triton.interpret(sys.argv[1])", path, TRITON_INTERPRET="1")
    return torch.load(path)


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_equal_the_loop_in_float64(answers, name):
    case = CASES[name]
    y, _, *gradients = answers[name]["runs"][0]
    got = {"y": y, **dict(zip(NAMES, gradients, strict=False))}
    expected = _with_gradients(case, "loop", torch.float64)
    assert [NAMES[i] for i, x in enumerate(gradients) if x.numel() == 0] == [x for x in NAMES[:-1] if x not in expected]
    _assert_exact(got, expected)


@pytest.mark.parametrize("name", CASES)
def test_shapes_and_strides_are_those_that_the_operator_promises(answers, name, monkeypatch):
    monkeypatch.setattr(layout, "CHUNK", CASES[name]["cut"][0])
    u, delta, A, B, _, *optional, order = (CASES[name]["arguments"].get(argument) for argument in NAMES)
    promised = [layout.empty_map(u, layout.by_token(u, A, order)), layout.empty_states(u, A, B)]
    promised += layout.empty_gradients(u, delta, A, B, *optional, order)
    got = zip(answers[name]["runs"][0], answers[name]["strides"], strict=True)
    assert [(x.shape, strides) for x, strides in got] == [(x.shape, x.stride()) for x in promised]


@pytest.mark.parametrize("name", ["parts", "four directions"])
def test_two_runs_are_bit_identical(answers, name):
    first, second = answers[name]["runs"]
    assert all(torch.equal(x, again) for x, again in zip(first, second, strict=True))


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


def test_by_way_of_the_operator_and_autograd(answers):
    _assert_exact(answers["operator"], _with_gradients(CASES["four directions"], "loop", torch.float64))


def compile_for(capability: int) -> None:
    """Print the PTX of all kernels for a GPU that need not be there; the assembler has accepted it."""
    import triton
    from triton.backends.compiler import GPUTarget

    device = {"get_current_target": lambda: GPUTarget("cuda", capability, 32), "get_current_device": lambda: 0}
    triton.runtime.driver.set_active(SimpleNamespace(**device, get_current_stream=lambda device: 0))
    from src.ops.scan import triton_kernels

    for name in ("summaries", "chain", "outputs", "gradients"):
        kernel = getattr(triton_kernels, name)

        class Compiler:
            def __init__(self, kernel=kernel):
                self.kernel = kernel

            def __getitem__(self, grid):
                return lambda *args, **more: print(self.kernel.warmup(*args, grid=grid, **more).asm["ptx"])

        setattr(triton_kernels, name, Compiler())
    for sizes in (
        {"sharing": 4, "rank": 2, "order": True, "by_token": True},
        {"shared": 2, "skip": False, "bias": False, "softplus": False},
    ):
        case = _arguments(width=4, states=16, length=300, **sizes)
        given = [case.get(argument) for argument in NAMES]
        y, states = triton_cuda.forward(*given, sizes.get("softplus", True), True)
        triton_cuda.backward(y, states, *given, sizes.get("softplus", True))


@pytest.mark.parametrize("capability", ["80", "90"])
def test_compiles_for_a_gpu_without_atomics_and_without_double_precision(capability, tmp_path):
    pytest.importorskip("triton")
    code = "import sys; from tests.ops import test_triton; test_triton.compile_for(int(sys.argv[1]))"
    ptx = _elsewhere(code, capability, TRITON_INTERPRET="0", TRITON_CACHE_DIR=str(tmp_path))
    assert [ptx.count(f".entry {name}(") for name in ("summaries", "chain", "outputs", "gradients")] == [4, 4, 2, 2]
    assert ptx.count(f".target sm_{capability}") == 12
    assert not [line for line in ptx.splitlines() if line.strip().startswith(("atom.", "red."))]
    assert ".f64" not in ptx


@pytest.mark.parametrize("sizes", [{"batch": 0}, {"length": 0}])
def test_nothing_to_scan(sizes):
    given = [_arguments(sharing=2, rank=2, order=True, **sizes).get(argument) for argument in NAMES]
    y, states = triton_cuda.forward(*given, True, True)
    assert y.shape == given[0].shape
    gradients = triton_cuda.backward(y, states, *given, True)
    assert [x.shape for x in gradients] == [x.shape for x in given[:-1]]
    assert not any(x.any() for x in gradients)


def test_states_are_kept_on_demand_only():
    given = [_arguments(batch=0).get(argument) for argument in NAMES]
    assert triton_cuda.forward(*given, True, False)[1].shape == (0,)


@pytest.mark.parametrize(
    ("module", "reason"), [(None, "triton cannot be imported"), (SimpleNamespace(__version__="3.1.0"), "triton 3.1.0 is too old")]
)
def test_a_missing_or_old_triton_is_a_reason_not_a_failure(monkeypatch, module, reason):
    monkeypatch.setitem(sys.modules, "triton", module)
    assert available_backends()["triton"].startswith(reason)
    case = _case()
    with pytest.raises(ValueError, match=f"backend=triton cannot be used here: {reason}"):
        selective_scan(**case["arguments"], backend="triton")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_reason_says_so():
    assert available_backends()["triton"] == "torch has no CUDA device"


def test_importing_the_operator_imports_no_kernels_and_needs_no_triton():
    code = "import sys; import src.ops; print('src.ops.scan.triton_kernels' in sys.modules)"
    assert _elsewhere(code).split() == ["False"]
    assert _elsewhere("import sys; sys.modules['triton'] = None; " + code).split() == ["False"]


def gpu(test: Any) -> Any:
    """What only a GPU can confirm: that the compiled kernels compute what the interpreted ones do."""
    return pytest.mark.gpu(pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")(test))


LARGE = {
    "as in RUN": _case(sharing=4, batch=2, width=32, states=16, length=2304, rank=2, order=True, by_token=True),
    "one state": _case(shared=4, width=48, states=1, length=1000),
    "odd sizes": _case(shared=2, sharing=2, batch=3, width=37, states=5, length=389, order=True),
    "many states": _case(width=4, states=64, length=300),
}


@gpu
@pytest.mark.parametrize("name", CASES)
def test_gpu_small_cases_equal_the_loop(name, monkeypatch):
    for module, option, value in zip((layout, triton_cuda, triton_cuda), ("CHUNK", "TILE", "PROGRAMS"), CASES[name]["cut"], strict=True):
        monkeypatch.setattr(module, option, value)
    _assert_exact(_with_gradients(CASES[name], "triton", torch.float32, "cuda"), _with_gradients(CASES[name], "loop", torch.float64))


@gpu
@pytest.mark.parametrize("name", LARGE)
def test_gpu_large_cases_equal_the_loop_twice_to_the_bit(name):
    first, second = (_with_gradients(LARGE[name], "triton", torch.float32, "cuda") for _ in range(2))
    assert all(torch.equal(x, second[argument]) for argument, x in first.items())
    _assert_exact(first, _with_gradients(LARGE[name], "loop", torch.float64, "cuda"))


@gpu
def test_gpu_auto_takes_triton():
    assert available_backends()["triton"] is None
    automatic, triton = (_with_gradients(LARGE["odd sizes"], backend, torch.float32, "cuda") for backend in ("auto", "triton"))
    assert all(torch.equal(x, triton[name]) for name, x in automatic.items())


@gpu
@pytest.mark.parametrize("name", ["four directions", "18 channels"])
def test_gpu_operator_obeys_the_rules_of_torch(name):
    given = [CASES[name]["arguments"].get(argument) for argument in NAMES]
    given = [x if x is None else x.cuda().requires_grad_(x.dtype.is_floating_point) for x in given]
    torch.library.opcheck(operator, (*given, True, True))
