"""The selective scan: the loop against hand calculation and gradcheck, faster backends against the loop in float64."""

from __future__ import annotations

import math
import sys
from functools import partial

import llvmlite.binding
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from src.ops import available_backends, selective_scan
from tests.fixtures.processes import run_code

FAST = ("parallel", "numba")
BACKENDS = ("loop", *FAST)


def _inputs(
    batch=2, groups=2, width=3, states=5, length=7, seed=0, skip=True, bias=True, dtype=torch.float32
) -> dict[str, Tensor]:
    """Random arguments; Δ is positive with and without softplus."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    rows = groups * width
    inputs = {
        "u": normal(batch, rows, length),
        "delta": normal(batch, rows, length).abs(),
        "A": -normal(rows, states).abs() - 0.1,
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(rows),
        "delta_bias": normal(rows).abs(),
    }
    return {k: v for k, v in inputs.items() if (k != "D" or skip) and (k != "delta_bias" or bias)}


def _with_gradients(inputs: dict[str, Tensor], backend: str, softplus: bool) -> dict[str, Tensor]:
    """The output and the gradient of every argument for a fixed random cotangent, in the order of ``inputs``."""
    leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
    y = selective_scan(**leaves, delta_softplus=softplus, backend=backend)
    return {
        "y": y.detach(),
        **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), _cotangent(y)), strict=True)),
    }


def _cotangent(y: Tensor) -> Tensor:
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)


def _relative_errors(got: dict[str, Tensor], expected: dict[str, Tensor], floor: float = 1e-6) -> dict[str, float]:
    """Largest error of each tensor over its largest value, or over ``floor`` if terms of that size may cancel."""
    return {
        name: ((got[name] - value).abs().max() / value.abs().max().clamp(min=floor)).item()
        for name, value in expected.items()
    }


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=40, deadline=None)
@given(
    batch=st.integers(1, 3),
    groups=st.integers(1, 3),
    width=st.integers(1, 3),
    states=st.sampled_from([1, 2, 5, 8, 16, 19]),
    length=st.integers(1, 12),
    seed=st.integers(0, 2**16),
    skip=st.booleans(),
    bias=st.booleans(),
    softplus=st.booleans(),
)
def test_output_and_gradients_equal_the_loop_in_float64(
    backend, batch, groups, width, states, length, seed, skip, bias, softplus
):
    inputs = _inputs(batch, groups, width, states, length, seed, skip, bias)
    expected = _with_gradients({name: value.double() for name, value in inputs.items()}, "loop", softplus)
    errors = _relative_errors(_with_gradients(inputs, backend, softplus), expected, floor=1.0)
    assert max(errors.values()) < 2e-5, errors


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("scale", [1e-3, 1e-1, 3.0])
def test_exact_over_a_long_sequence(backend, scale):
    """400 tokens with the decays of an S4D-real start; the largest steps let the fast states underflow."""
    inputs = _inputs(batch=1, groups=2, width=2, states=16, length=400)
    inputs["delta"], inputs["A"] = inputs["delta"] * scale, -torch.arange(1.0, 17).repeat(4, 1)
    del inputs["delta_bias"]
    expected = _with_gradients({name: value.double() for name, value in inputs.items()}, "loop", False)
    errors = _relative_errors(_with_gradients(inputs, backend, False), expected)
    assert errors.pop("y") < 2e-6
    assert max(errors.values()) < 2e-5, errors


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_that_decays_at_once_leaves_the_drive_alone(backend):
    inputs = _inputs(skip=False, bias=False)
    inputs["A"] = torch.full_like(inputs["A"], -1e6)
    inputs["delta"] = torch.ones_like(inputs["delta"])
    similarity = (inputs["B"] * inputs["C"]).sum(2).repeat_interleave(3, 1)
    torch.testing.assert_close(selective_scan(**inputs, backend=backend), inputs["u"] * similarity)


@pytest.mark.parametrize("backend", BACKENDS)
def test_by_hand(backend):
    """Two groups of one channel and one state. Row 0: h = 1, then ½·1 + 1·1·2 = 2.5. Row 1: h = 1, then ¼·1 + 1."""
    y = selective_scan(
        u=torch.tensor([[[1.0, 2.0], [1.0, 1.0]]]),
        delta=torch.tensor([[[0.5, 1.0], [1.0, 1.0]]]),
        A=torch.tensor([[-math.log(2)], [-math.log(4)]]),
        B=torch.tensor([[[[2.0, 1.0]], [[1.0, 1.0]]]]),
        C=torch.tensor([[[[1.0, 3.0]], [[1.0, -2.0]]]]),
        D=torch.tensor([0.5, 0.0]),
        backend=backend,
    )
    torch.testing.assert_close(y, torch.tensor([[[1 * 1 + 0.5, 2.5 * 3 + 1.0], [1.0, 1.25 * -2]]]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_bias_comes_before_softplus(backend):
    """softplus(ln(e − 1)) = 1, so one token gives Δ·B·u·C = u."""
    one = torch.ones(1, 1, 1)
    bias = torch.tensor([math.log(math.e - 1) - 0.25])
    y = selective_scan(
        3 * one, 0.25 * one, -one[0], one[None], one[None], delta_bias=bias, delta_softplus=True, backend=backend
    )
    assert y.item() == pytest.approx(3.0, rel=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["u", "delta", "B", "C"])
def test_causal(backend, name):
    inputs = _inputs(length=9)
    before = selective_scan(**inputs, delta_softplus=True, backend=backend)
    changed = inputs[name].clone()
    changed[..., 5] += 1
    after = selective_scan(**(inputs | {name: changed}), delta_softplus=True, backend=backend)
    assert torch.equal(after[..., :5], before[..., :5])
    assert (after[..., 5] != before[..., 5]).all()
    assert (after[..., 6:] != before[..., 6:]).any() == (name != "C")


@pytest.mark.parametrize("backend", BACKENDS)
def test_linear_in_u(backend):
    inputs, other = _inputs(), _inputs(seed=7)["u"]

    def scan(u: Tensor) -> Tensor:
        return selective_scan(**(inputs | {"u": u}), delta_softplus=True, backend=backend)

    torch.testing.assert_close(
        scan(2 * inputs["u"] - 3 * other), 2 * scan(inputs["u"]) - 3 * scan(other), atol=1e-4, rtol=1e-4
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_and_a_group_do_not_see_the_others(backend):
    inputs = _inputs(batch=2, groups=2, width=3)
    alone = {name: value[1:, 3:] if name in ("u", "delta") else value for name, value in inputs.items()}
    alone |= {name: inputs[name][1:, 1:] for name in ("B", "C")} | {
        name: inputs[name][3:] for name in ("A", "D", "delta_bias")
    }
    together = selective_scan(**inputs, backend=backend)
    torch.testing.assert_close(together[1:, 3:], selective_scan(**alone, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_runs_are_bit_identical(backend):
    inputs = _inputs(batch=3, groups=3, width=4, states=16, length=40)
    first, second = (_with_gradients(inputs, backend, True) for _ in range(2))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("backend", ["loop", "parallel"])
def test_gradcheck(backend):
    inputs = [
        x.requires_grad_()
        for x in _inputs(batch=1, groups=2, width=1, states=2, length=3, dtype=torch.float64).values()
    ]
    scan = partial(selective_scan, delta_softplus=True, backend=backend)
    assert torch.autograd.gradcheck(scan, inputs)
    assert torch.autograd.gradgradcheck(scan, inputs)


def test_numba_refuses_a_second_derivative():
    """Its gradients have no graph: a gradient penalty must raise an error instead of silently missing the scan."""
    inputs = {name: value.requires_grad_() for name, value in _inputs().items()}
    y = selective_scan(**inputs, backend="numba")
    (slope,) = torch.autograd.grad(y.square().sum(), inputs["u"], create_graph=True)
    with pytest.raises(RuntimeError):
        (slope.square().sum() + inputs["u"].sum()).backward()


@pytest.mark.parametrize("backend", BACKENDS)
def test_strides_do_not_matter(backend):
    """Transposed, sliced and expanded arguments, as the four directions of a map produce them."""
    plain = _inputs(batch=2, groups=2, width=3, states=5, length=7)
    plain["B"] = plain["B"][:1].expand(2, -1, -1, -1).contiguous()
    strided = {name: value.transpose(0, -1).contiguous().transpose(0, -1) for name, value in plain.items()}
    strided["u"] = torch.stack([plain["u"], plain["u"]], -1)[..., 0]
    strided["B"] = plain["B"][:1].expand(2, -1, -1, -1)
    assert not any(strided[name].is_contiguous() for name in ("u", "delta", "A", "B", "C"))
    leaves = {name: value.detach().requires_grad_() for name, value in strided.items()}
    y = selective_scan(**leaves, delta_softplus=True, backend=backend)
    cotangent = _cotangent(y).transpose(1, 2).contiguous().transpose(1, 2)
    got = {"y": y, **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), cotangent), strict=True))}
    assert max(_relative_errors(got, _with_gradients(plain, backend, True)).values()) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_bfloat16_comes_back_as_bfloat16_but_is_computed_in_float32(backend):
    inputs = _inputs(length=60)
    low = inputs | {name: inputs[name].bfloat16() for name in ("u", "delta", "B", "C")}
    exact = selective_scan(**{name: value.float() for name, value in low.items()}, backend=backend)
    got = _with_gradients(low, backend, False)
    assert torch.equal(got["y"], selective_scan(**low, backend=backend))
    assert torch.equal(got["y"], exact.bfloat16())
    assert {name: got[name].dtype for name in low} == {name: value.dtype for name, value in low.items()}


@pytest.mark.slow
def test_float64_stays_float64():
    inputs = _inputs(dtype=torch.float64)
    assert selective_scan(**inputs).dtype == torch.float64
    rounded = selective_scan(**{name: value.float() for name, value in inputs.items()}).double()
    assert 0 < (selective_scan(**inputs) - rounded).abs().max() < 1e-4


class _Recorder(TorchDispatchMode):
    """Did the compiled operator run?"""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.compiled |= func is torch.ops.run.selective_scan.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_auto_takes_the_compiled_operator_on_a_cpu(dtype):
    with _Recorder() as ran:
        selective_scan(**_inputs(dtype=dtype))
    assert ran.compiled


def test_auto_takes_parallel_where_numba_is_not_to_be_had(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    reason = available_backends()["numba"]
    assert reason is not None
    assert "cannot be imported" in reason
    with _Recorder() as ran:
        selective_scan(**_inputs())
    assert not ran.compiled
    with pytest.raises(ValueError, match="backend=numba cannot be used here: numba cannot be imported"):
        selective_scan(**_inputs(), backend="numba")


def test_available_backends_say_why_not():
    reasons = available_backends()
    assert list(reasons) == ["loop", "parallel", "numba", "triton", "mamba_ssm"]
    assert [reasons[name] for name in BACKENDS] == [None, None, None]
    if not torch.cuda.is_available():
        assert "CUDA" in str(reasons["triton"])
        assert "mamba-ssm" in str(reasons["mamba_ssm"])
        assert "docs/explanation/selective-scan.md" in str(reasons["mamba_ssm"])


@pytest.mark.parametrize("name", ["delta", "B", "C", "D", "delta_bias"])
def test_a_wrong_shape_names_argument_got_and_expected(name):
    inputs = _inputs(batch=2, groups=2, width=3, states=5, length=7)
    wrong = inputs[name][..., :-1]
    with pytest.raises(ValueError, match="selective_scan") as error:
        selective_scan(**(inputs | {name: wrong}))
    assert str(error.value) == f"selective_scan: {name}: got {tuple(wrong.shape)}, expected {tuple(inputs[name].shape)}"


def test_everything_that_is_wrong_is_told_at_once():
    inputs = _inputs(batch=2, groups=2, width=3, states=5, length=7)
    wrong = {"B": inputs["B"][:1], "D": inputs["D"][:4], "order": torch.zeros(2, 8, dtype=torch.int64)}
    with pytest.raises(ValueError, match="selective_scan") as error:
        selective_scan(**(inputs | wrong))
    assert str(error.value) == (
        "selective_scan: B: got (1, 2, 5, 7), expected (2, 2, 5, 7); "
        "D: got (4,), expected (6,); order: got (2, 8), expected (2, 7)"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u": torch.zeros(6, 7)}, r"u: got 2 dimensions \(6, 7\), expected 3"),
        (
            {"u": torch.zeros(2, 4, 7)},
            "u: got 4 rows, expected the 6 rows of A, or a part of them made of whole groups of 3",
        ),
        ({"A": -torch.ones(5, 5)}, "A: got 5 rows, expected a multiple of the 2 groups of B"),
        ({"B": torch.zeros(2, 2, 5, 7, dtype=torch.float64)}, r"B: got torch.float64, expected torch.float32 as u$"),
        ({"A": -torch.ones(6, 5).bfloat16()}, r"A: got torch.bfloat16, expected torch.float32 as u \(or float32\)"),
        ({"u": torch.zeros(2, 6, 7, dtype=torch.int64)}, "u: got torch.int64, expected a floating point type"),
        (
            {"C": torch.zeros(2, 2, 5, 7, device="meta"), "D": torch.zeros(6, device="meta")},
            r"C: got meta, expected cpu as u; D: got meta",
        ),
        ({"order": torch.zeros(2, 7)}, "order: got torch.float32, expected int32 or int64"),
        (_inputs(length=0), "u: got 0 tokens, expected 1 or more"),
        ({"u": None}, "u: got NoneType, expected a tensor"),
        ({"order": torch.arange(1, 8).expand(2, 7)}, "order: got tokens 1 … 7, expected 0 … 6"),
        ({"order": torch.arange(7).expand(2, 7) + 2**32}, "order: got tokens 4294967296 … 4294967302, expected 0 … 6"),
        (
            {"order": torch.tensor([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 2, 4, 5, 6]])},
            "order: group 1 visits some token twice and another never",
        ),
        (
            {"delta": torch.zeros(2, 0, 7), "delta_proj": torch.zeros(6, 0)},
            "delta_proj: got rank 0, expected 1 or more",
        ),
        ({"backend": ["numba"]}, r"backend: got \['numba'\], expected auto or one of"),
        ({"delta": [1.0]}, "delta: got list, expected a tensor"),
        ({"backend": "fast"}, "backend: got 'fast', expected auto or one of loop, parallel, numba, triton, mamba_ssm"),
        ({"backend": "triton"}, "backend=triton cannot be used here: "),
        ({"backend": "mamba_ssm"}, "backend=mamba_ssm cannot be used here: mamba-ssm .* cannot be imported"),
    ],
)
def test_wrong_arguments_are_told(change, message):
    if str(change.get("backend")) in available_backends() and available_backends()[change["backend"]] is None:
        pytest.skip("this backend can be used here")
    with pytest.raises(ValueError, match=message):
        selective_scan(**(_inputs(batch=2, groups=2, width=3, states=5, length=7) | change))


def _map_inputs(
    batch, shared, directions, width, states, rank, length, seed, ordered, token_major, dtype=torch.float32
) -> dict[str, Tensor]:
    """Arguments with a low-rank Δ, rows that groups share, and an order of its own for each group."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    groups = shared * directions
    inputs = {
        "u": normal(batch, shared * width, length),
        "delta": normal(batch, groups * rank, length),
        "A": -normal(groups * width, states).abs() - 0.1,
        "B": normal(batch, groups, states, length),
        "C": normal(batch, groups, states, length),
        "D": normal(groups * width),
        "delta_bias": normal(groups * width),
        "delta_proj": normal(groups * width, rank),
    }
    if token_major:
        inputs |= {name: inputs[name].movedim(-1, 1).contiguous().movedim(1, -1) for name in ("u", "delta", "B", "C")}
    if ordered:
        inputs["order"] = torch.stack([torch.randperm(length, generator=generator) for _ in range(groups)])
    return inputs


def _map_gradients(inputs: dict[str, Tensor], backend: str) -> dict[str, Tensor]:
    order = {name: inputs[name] for name in ("order",) if name in inputs}
    leaves = {name: value.detach().requires_grad_() for name, value in inputs.items() if name != "order"}
    y = selective_scan(**leaves, **order, delta_softplus=True, backend=backend)
    return {
        "y": y.detach(),
        **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), _cotangent(y)), strict=True)),
    }


@pytest.mark.parametrize("backend", FAST)
@settings(max_examples=30, deadline=None)
@given(
    batch=st.integers(1, 2),
    shared=st.integers(1, 2),
    directions=st.integers(1, 4),
    width=st.sampled_from([1, 3, 16, 20, 33]),
    states=st.sampled_from([1, 4, 16, 17]),
    rank=st.sampled_from([1, 2, 17]),
    length=st.sampled_from([1, 2, 15, 16, 127, 128, 129, 150]),
    seed=st.integers(0, 2**16),
    ordered=st.booleans(),
    token_major=st.booleans(),
)
def test_orders_shared_rows_and_low_rank_steps_equal_the_loop_in_float64(backend, ordered, token_major, **shape):
    inputs = _map_inputs(**shape, ordered=ordered, token_major=token_major)
    doubled = {name: value if name == "order" else value.double() for name, value in inputs.items()}
    errors = _relative_errors(_map_gradients(inputs, backend), _map_gradients(doubled, "loop"), floor=1.0)
    assert max(errors.values()) < 2e-5, errors


def test_an_order_is_what_it_would_be_to_reorder_and_put_back():
    """The loop, spelled out: shared rows repeated, tokens permuted, the low-rank Δ multiplied out, outputs summed."""
    x = _map_inputs(1, 1, 2, 3, 2, 2, 6, 0, ordered=True, token_major=False, dtype=torch.float64)
    total = torch.zeros(1, 3, 6, dtype=torch.float64)
    for g in range(2):
        rows, visits = slice(3 * g, 3 * g + 3), x["order"][g]
        delta = x["delta_proj"][rows] @ x["delta"][:, 2 * g : 2 * g + 2]
        arguments = (
            x["u"][..., visits],
            delta[..., visits],
            x["A"][rows],
            x["B"][:, g : g + 1, :, visits],
            x["C"][:, g : g + 1, :, visits],
        )
        y = selective_scan(*arguments, x["D"][rows], x["delta_bias"][rows], delta_softplus=True, backend="loop")
        total[..., visits] += y
    for backend in BACKENDS:
        torch.testing.assert_close(selective_scan(**x, delta_softplus=True, backend=backend), total)


@pytest.mark.slow
@pytest.mark.parametrize("states", [1, 3, 16])
def test_numba_gradcheck(states):
    inputs = _map_inputs(1, 1, 2, 2, states, 1, 4, 0, ordered=True, token_major=True, dtype=torch.float64)
    order = inputs.pop("order")
    leaves = [value.requires_grad_() for value in inputs.values()]

    def scan(*args: Tensor) -> Tensor:
        return selective_scan(**dict(zip(inputs, args, strict=True)), order=order, delta_softplus=True, backend="numba")

    assert torch.autograd.gradcheck(scan, leaves)


def test_the_chunk_does_not_matter(monkeypatch):
    """What is kept of the states between chunks is exactly what the next one needs."""
    inputs = _inputs(batch=1, groups=2, width=18, states=7, length=150)
    expected = _with_gradients(inputs, "numba", True)
    for chunk in (1, 16, 37, 500):
        monkeypatch.setattr("src.ops.scan.layout.CHUNK", chunk)
        monkeypatch.setattr("src.ops.scan.numba_cpu.CHUNK", chunk)
        got = _with_gradients(inputs, "numba", True)
        assert torch.equal(got["y"], expected["y"]), chunk
        assert max(_relative_errors(got, expected).values()) < 1e-6


def test_the_number_of_threads_does_not_matter():
    inputs = _inputs(batch=3, groups=3, width=40, states=16, length=140)
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(_with_gradients(inputs, "numba", True))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert [name for name in other if not torch.equal(other[name], results[0][name])] == []


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [{"batch": 0}, {"length": 1}])
def test_no_sample_and_a_single_token(backend, shape):
    inputs = _inputs(**shape)
    got = _with_gradients(inputs, backend, True)
    assert {name: value.shape for name, value in got.items()} == {"y": inputs["u"].shape} | {
        n: v.shape for n, v in inputs.items()
    }
    if shape == {"length": 1}:
        expected = _with_gradients({name: value.double() for name, value in inputs.items()}, "loop", True)
        assert max(_relative_errors(got, expected).values()) < 1e-6
    else:
        assert not any(got[name].any() for name in ("A", "D", "delta_bias"))


@pytest.mark.parametrize("shape", [(8, 1, 40, 16), (1, 1, 16, 33), (1, 2, 20, 64), (2, 4, 130, 16)])
def test_many_channels_and_states_equal_the_loop_in_float64(shape):
    """Several blocks of 16 channels in one task, several blocks of 16 states, tokens side by side."""
    batch, groups, width, states = shape
    inputs = _inputs(batch, groups, width, states, length=140)
    inputs["delta"] = inputs["delta"] * 0.1
    expected = _with_gradients({name: value.double() for name, value in inputs.items()}, "loop", True)
    errors = _relative_errors(_with_gradients(inputs, "numba", True), expected)
    assert max(errors.values()) < 2e-5, errors


def _check_numbers_and_nan() -> None:
    """Numba against the loop; NaN inputs give NaN in both."""
    torch.manual_seed(0)
    shapes = {
        "u": (1, 3, 20),
        "delta": (1, 3, 20),
        "A": (3, 5),
        "B": (1, 1, 5, 20),
        "C": (1, 1, 5, 20),
        "D": (3,),
        "delta_bias": (3,),
    }
    for dtype in (torch.float32, torch.float64):
        inputs = {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}
        inputs["A"] = -inputs["A"].exp()
        inputs["delta"][0, 0] *= 60
        leaves = {name: value.clone().requires_grad_() for name, value in inputs.items()}
        exact = {name: value.double().requires_grad_() for name, value in inputs.items()}
        y, truth = (
            selective_scan(**leaves, delta_softplus=True, backend="numba"),
            selective_scan(**exact, delta_softplus=True, backend="loop"),
        )
        gradients = torch.autograd.grad(y.square().sum(), list(leaves.values()))
        true_gradients = torch.autograd.grad(truth.square().sum(), list(exact.values()))
        for got, expected in zip((y, *gradients), (truth, *true_gradients), strict=True):
            error = (got - expected).abs().max() / expected.abs().max()
            assert error < (1e-5 if dtype == torch.float32 else 1e-11), error
        for name in inputs:
            broken = inputs | {name: inputs[name].clone()}
            broken[name].view(-1)[0] = float("nan")
            y, truth = (selective_scan(**broken, delta_softplus=True, backend=backend) for backend in ("numba", "loop"))
            assert torch.equal(y.isnan(), truth.isnan()), (dtype, name)


def test_numbers_and_nan():
    _check_numbers_and_nan()


def _has_avx512() -> bool:
    return bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))


@pytest.mark.slow
@pytest.mark.skipif(
    not _has_avx512(), reason="this processor has no AVX-512: the test above has compiled for one without"
)
def test_numbers_and_nan_on_a_processor_without_avx512(tmp_path):
    """Without AVX-512 another exponential is compiled; both pass NaN on."""
    code = "from tests.ops.scan.test_scan import _check_numbers_and_nan as check; check()"
    run_code(code, NUMBA_CPU_NAME="haswell", NUMBA_CACHE_DIR=str(tmp_path))


def test_extreme_steps_stay_finite():
    """Decays that underflow, and softplus of very small and very large arguments."""
    inputs = _inputs(batch=1, groups=1, width=4, states=3, length=6)
    inputs["delta"] = torch.tensor([-200.0, -30.0, 0.0, 25.0, 300.0, 1e4]).expand(1, 4, 6).clone()
    expected = _with_gradients({name: value.double() for name, value in inputs.items()}, "loop", True)
    for backend in FAST:
        got = _with_gradients(inputs, backend, softplus=True)
        assert all(value.isfinite().all() for value in got.values())
        assert max(_relative_errors(got, expected).values()) < 1e-5


def test_autocast_computes_in_float32():
    inputs = _inputs(length=60)
    expected = selective_scan(**inputs, backend="parallel")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for backend in BACKENDS:
            torch.testing.assert_close(selective_scan(**inputs, backend=backend), expected, rtol=1e-5, atol=1e-5)


def _operator_arguments(kind: str) -> tuple:
    if kind == "sequence":
        inputs = _inputs(batch=2, groups=2, width=3, states=5, length=7)
    else:
        inputs = _map_inputs(2, 1, 4, 18, 16, 2, 140, 0, ordered=kind == "ordered", token_major=True)
    tensors = [inputs.get(name) for name in ("u", "delta", "A", "B", "C", "D", "delta_bias", "delta_proj")]
    return *(None if x is None else x.requires_grad_() for x in tensors), inputs.get("order")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sequence", "shared", "ordered"])
def test_opcheck(kind):
    """Schema, autograd registration, shapes and strides without data, and dynamic shapes, of both operators."""
    arguments = _operator_arguments(kind)
    torch.library.opcheck(torch.ops.run.selective_scan.default, (*arguments, True, True))
    y, states = torch.ops.run.selective_scan(*arguments, True, True)
    detached = [None if x is None else x.detach() for x in (torch.randn_like(y), states, *arguments)]
    torch.library.opcheck(torch.ops.run.selective_scan_backward.default, (*detached, True))


def test_forward_mode_is_right_or_refused():
    """The operator has no forward-mode rule: `auto` uses `parallel`, and a kernel by name raises, not gives 0."""
    inputs = _inputs()
    u = inputs.pop("u")
    _, expected = torch.func.jvp(lambda u: selective_scan(u, **inputs, backend="parallel"), (u,), (u,))
    _, tangent = torch.func.jvp(lambda u: selective_scan(u, **inputs), (u,), (u,))
    assert tangent.abs().sum() > 0
    torch.testing.assert_close(tangent, expected)
    with pytest.raises(ValueError, match=r"forward mode and torch\.func: parallel"):
        torch.func.jvp(lambda u: selective_scan(u, **inputs, backend="numba"), (u,), (u,))


def test_a_meta_tensor_gets_its_shape():
    inputs = {name: value.to("meta") for name, value in _inputs().items()}
    for backend in ("auto", "parallel"):
        assert selective_scan(**inputs, backend=backend).shape == inputs["u"].shape


def test_states_are_kept_for_a_backward_pass_only():
    arguments = _operator_arguments("shared")
    assert torch.ops.run.selective_scan(*arguments, True, False)[1].numel() == 0
    shape = torch.ops.run.selective_scan(*arguments, True, True)[1].shape
    assert shape == (2, 4, 2, 2, 16, 16)  # 140 steps: two chunks; 18 channels: two blocks


def test_flops():
    from torch.utils.flop_counter import FlopCounterMode

    import src.ops.scan.flops  # noqa: F401

    with FlopCounterMode(display=False) as counter:
        selective_scan(**_inputs(batch=2, groups=2, width=3, states=5, length=7))
    assert counter.get_total_flops() == 2 * 7 * 6 * (9 * 5 + 2)


def test_compiles_without_a_graph_break():
    inputs = _inputs()
    compiled = torch.compile(partial(selective_scan, delta_softplus=True), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(**inputs), selective_scan(**inputs, delta_softplus=True))
