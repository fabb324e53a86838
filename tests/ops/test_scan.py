"""The selective scan: the loop against a calculation by hand and gradcheck, every faster backend against the loop in float64."""

from __future__ import annotations

import math
import sys
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.ops import available_backends, selective_scan
from src.ops.scan import loop, numba_cpu, parallel

FAST = ("parallel", "numba")
BACKENDS = ("loop", *FAST)


def _inputs(batch=2, groups=2, width=3, states=5, length=7, seed=0, skip=True, bias=True, dtype=torch.float32) -> dict[str, Tensor]:
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
    return {"y": y.detach(), **dict(zip(leaves, torch.autograd.grad(y, list(leaves.values()), _cotangent(y)), strict=True))}


def _cotangent(y: Tensor) -> Tensor:
    return torch.randn(y.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(y.dtype)


def _relative_errors(got: dict[str, Tensor], expected: dict[str, Tensor], floor: float = 1e-6) -> dict[str, float]:
    """Largest error of each tensor over its largest value, or over ``floor`` where terms of that size may have cancelled."""
    return {name: ((got[name] - value).abs().max() / value.abs().max().clamp(min=floor)).item() for name, value in expected.items()}


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
def test_output_and_gradients_equal_the_loop_in_float64(backend, batch, groups, width, states, length, seed, skip, bias, softplus):
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
    """Two groups of one channel and one state. Row 0: h = 1, then ½·1 + 1·1·2 = 2.5. Row 1: h = 1, then ¼·1 + 1 = 1.25."""
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
    y = selective_scan(3 * one, 0.25 * one, -one[0], one[None], one[None], delta_bias=bias, delta_softplus=True, backend=backend)
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

    torch.testing.assert_close(scan(2 * inputs["u"] - 3 * other), 2 * scan(inputs["u"]) - 3 * scan(other), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_sample_and_a_group_do_not_see_the_others(backend):
    inputs = _inputs(batch=2, groups=2, width=3)
    alone = {name: value[1:, 3:] if name in ("u", "delta") else value for name, value in inputs.items()}
    alone |= {name: inputs[name][1:, 1:] for name in ("B", "C")} | {name: inputs[name][3:] for name in ("A", "D", "delta_bias")}
    together = selective_scan(**inputs, backend=backend)
    torch.testing.assert_close(together[1:, 3:], selective_scan(**alone, backend=backend))


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_runs_are_bit_identical(backend):
    inputs = _inputs(batch=3, groups=3, width=4, states=16, length=40)
    first, second = (_with_gradients(inputs, backend, True) for _ in range(2))
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.mark.parametrize("backend", ["loop", "parallel"])
def test_gradcheck(backend):
    inputs = [x.requires_grad_() for x in _inputs(batch=1, groups=2, width=1, states=2, length=3, dtype=torch.float64).values()]
    scan = partial(selective_scan, delta_softplus=True, backend=backend)
    assert torch.autograd.gradcheck(scan, inputs)
    assert torch.autograd.gradgradcheck(scan, inputs)


def test_numba_refuses_a_second_derivative():
    """Its gradients carry no graph: a gradient penalty must not come out silently without its scan."""
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


def test_float64_stays_float64():
    inputs = _inputs(dtype=torch.float64)
    assert selective_scan(**inputs).dtype == torch.float64
    rounded = selective_scan(**{name: value.float() for name, value in inputs.items()}).double()
    assert 0 < (selective_scan(**inputs) - rounded).abs().max() < 1e-4


@pytest.fixture
def picked(monkeypatch) -> list[str]:
    """The backends that were run, in order."""
    names: list[str] = []
    for name, module in (("loop", loop), ("parallel", parallel), ("numba", numba_cpu)):
        scan = module.scan
        monkeypatch.setattr(module, "scan", lambda *args, name=name, scan=scan: names.append(name) or scan(*args))
    return names


def test_auto_takes_numba_for_float32_and_parallel_for_float64(picked):
    selective_scan(**_inputs())
    selective_scan(**_inputs(dtype=torch.bfloat16))
    selective_scan(**_inputs(dtype=torch.float64))
    assert picked == ["numba", "numba", "parallel"]


def test_auto_takes_parallel_where_numba_is_not_to_be_had(picked, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    reason = available_backends()["numba"]
    assert reason is not None
    assert "cannot be imported" in reason
    selective_scan(**_inputs())
    assert picked == ["parallel"]
    with pytest.raises(ValueError, match="backend=numba cannot be used here: numba cannot be imported"):
        selective_scan(**_inputs(), backend="numba")


def test_available_backends():
    assert available_backends() == {"loop": None, "parallel": None, "numba": None}


@pytest.mark.parametrize("name", ["delta", "A", "B", "C", "D", "delta_bias"])
def test_a_wrong_shape_names_argument_got_and_expected(name):
    inputs = _inputs(batch=2, groups=2, width=3, states=5, length=7)
    wrong = inputs[name][..., :-1] if name in ("delta", "B", "C") else inputs[name][:-1]
    with pytest.raises(ValueError, match="selective_scan") as error:
        selective_scan(**(inputs | {name: wrong}))
    assert str(error.value) == f"selective_scan: {name}: got {tuple(wrong.shape)}, expected {tuple(inputs[name].shape)}"


def test_wrong_ranks_and_groups_are_told():
    inputs = _inputs(groups=1, width=3)
    with pytest.raises(ValueError, match=r"u must be \(N, G·d, L\).*got \(6, 7\)"):
        selective_scan(**(inputs | {"u": torch.zeros(6, 7)}))
    two_groups = {name: inputs[name].repeat(1, 2, 1, 1) for name in ("B", "C")}
    with pytest.raises(ValueError, match="3 rows cannot be divided into the 2 groups"):
        selective_scan(**(inputs | two_groups))


def test_wrong_backends_are_told():
    with pytest.raises(ValueError, match=r"backend: got 'fast', expected auto or one of .*loop.*numba"):
        selective_scan(**_inputs(), backend="fast")
    with pytest.raises(ValueError, match=r"backend=numba computes float32 on the CPU; got torch\.float64"):
        selective_scan(**_inputs(dtype=torch.float64), backend="numba")
