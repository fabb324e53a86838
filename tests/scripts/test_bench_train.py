"""The step benchmark: which networks it builds, and that its figures match their seconds."""

from __future__ import annotations

import copy
from collections import defaultdict

import pytest
import torch

from scripts import bench_train
from scripts.bench_train import table
from src.models.fpn import FPN


@pytest.mark.slow
def test_figures_are_of_the_seconds_of_each_network_and_the_first_step_does_not_count(monkeypatch):
    taken = defaultdict(int)

    def seconds(module, *_):
        name = "fpn" if isinstance(module.net, FPN) else "run"
        taken[name] += 1
        return {"fpn": [99, 2, 2, 8], "run": [99, 7, 5, 1]}[name][taken[name] - 1]

    monkeypatch.setattr(bench_train, "step", seconds)
    fpn, run = table(
        ["fpn", "run_quarter"], size=32, batch=2, rounds=3, overrides=["model.net.channels=8"], device="cpu"
    )
    assert [(row["model"], row["median"], row["fastest"], row["ratio"]) for row in (fpn, run)] == [
        ("fpn", 2, 2, 1),
        ("run_quarter", 5, 1, 2.5),
    ]
    assert run["parameters"] > fpn["parameters"] > 2.5  # millions; the encoder alone has 2.8


def test_a_step_trains_and_takes_time():
    module, optimizer = bench_train.make("fpn", ["model.net.channels=8"], "cpu")
    before = copy.deepcopy(module.net.encoder.state_dict())
    assert bench_train.step(module, optimizer, torch.rand(2, 3, 32, 32), torch.ones(2, 1, 32, 32)) > 0
    assert any(not torch.equal(value, before[name]) for name, value in module.net.encoder.state_dict().items())


@pytest.mark.parametrize("model", ["fpn", "run_quarter"])
def test_overrides_reach_every_network(model):
    narrow, wide = (bench_train.make(model, [f"model.net.channels={width}"], "cpu")[0] for width in (8, 16))
    assert sum(p.numel() for p in wide.parameters()) > sum(p.numel() for p in narrow.parameters())
