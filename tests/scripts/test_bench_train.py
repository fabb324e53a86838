"""The step benchmark: which networks it builds, and that its ratios are of its own seconds."""

from __future__ import annotations

import pytest

from scripts.bench_train import table


def test_rows_are_the_networks_that_were_asked_for():
    rows = table(["fpn", "run_quarter"], size=32, batch=2, rounds=1, overrides=["model.net.channels=8"], device="cpu")
    assert [row["model"] for row in rows] == ["fpn", "run_quarter"]
    assert rows[0]["ratio"] == 1
    assert rows[1]["ratio"] == pytest.approx(rows[1]["median"] / rows[0]["median"])
    assert rows[1]["parameters"] > rows[0]["parameters"] > 2.5  # millions; the encoder alone has 2.8


def test_overrides_reach_every_network():
    narrow, wide = (table(["fpn"], 32, 2, 1, [f"model.net.channels={width}"], "cpu")[0]["parameters"] for width in (8, 16))
    assert wide > narrow
