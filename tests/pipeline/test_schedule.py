"""The schedule does not have flaw 5 of method.md 6: it rises, falls, and never leaves (0, base rate]."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.pipeline.schedule import warmup_cosine


def _rates(total: int, steps: int, bases: tuple[float, ...] = (1.0,), **options: float) -> list[list[float]]:
    """The rates of all groups that each of ``steps`` optimiser steps is taken with."""
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": base} for base in bases]
    optimizer = torch.optim.SGD(groups)
    scheduler = warmup_cosine(optimizer, total, **options)
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    return rates


def test_values_at_start_end_of_warmup_middle_and_end():
    rates = [rate for (rate,) in _rates(100, 140, warmup=0.1, final=0.02)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[4] == pytest.approx(0.5)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx((1 + 0.02) / 2)
    assert rates[100:] == pytest.approx([0.02] * 40)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_every_group_keeps_its_base_rate():
    for slow, fast in _rates(50, 50, bases=(1e-4, 1e-3)):
        assert fast == pytest.approx(10 * slow)
    assert max(slow for slow, _ in _rates(50, 50, bases=(1e-4, 1e-3))) == pytest.approx(1e-4)


@settings(max_examples=50, deadline=None)
@given(total=st.integers(1, 60), warmup=st.floats(0, 1), final=st.floats(0, 1))
def test_never_negative_and_never_above_the_base_rate(total, warmup, final):
    rates = [rate for (rate,) in _rates(total, total + 5, warmup=warmup, final=final)]
    assert min(rates) >= 0
    assert min(rates[:total]) > 0
    assert max(rates) <= 1 + 1e-9
    assert rates[-1] == pytest.approx(final, abs=1e-12)
