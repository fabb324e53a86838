"""The scaling benchmark: what it varies, that settings take turns, and that its figures match the costs."""

from __future__ import annotations

import csv
import os
from argparse import Namespace

import pytest

from scripts import bench_scaling
from scripts.bench_scaling import Cost, Point, bench, in_turns, isolated, measure, points
from src.utils.errors import UserError


def options(**changes) -> Namespace:
    given = {"models": ["fpn"], "axes": ["pixels"], "quick": True, "rounds": 3, "repeats": 1, "threads": 1}
    return Namespace(**given | {"device": "cpu", "out": None, "overrides": []} | changes)


def test_a_network_without_stages_has_no_such_axis():
    axes = {"pixels": (64, 96), "stages": (1, 2), "channels": (8,)}
    assert points(["fpn", "run_quarter"], axes, []) == [
        *(Point("fpn", "pixels", side) for side in (64, 96)),
        Point("fpn", "channels", 8),
        *(Point("run_quarter", axis, value) for axis, values in axes.items() for value in values),
    ]


def test_settings_take_turns_and_one_without_memory_is_left_out(monkeypatch, capsys):
    small, large = (Point("fpn", "batch", size) for size in (1, 64))
    asked = []

    def cost(_function, point, *_settings):
        asked.append(point)
        return None if point == large else Cost(1, 2, 3, 4)

    monkeypatch.setattr(bench_scaling, "isolated", cost)
    assert in_turns([small, large], 3, []) == {small: [Cost(1, 2, 3, 4)] * 3}
    assert asked == [small, large, small, small]
    assert "not enough memory" in capsys.readouterr().err


def test_figures_are_of_the_medians_and_files_hold_every_measurement(monkeypatch, capsys, tmp_path):
    calls = []

    def cost(_function, point, *_settings):
        calls.append(point)
        late = 100 if len(calls) <= 3 else 1  # the machine was busy in the first round
        return Cost(late * point.size, late * point.size**1.5, 10 + point.size, point.size**2)

    monkeypatch.setattr(bench_scaling, "isolated", cost)
    monkeypatch.setattr(bench_scaling, "AXES", {"pixels": (64, 128, 256)})
    bench(options(quick=False, out=tmp_path / "new"))
    lines = capsys.readouterr().out.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| pixels")]
    assert [row[1:3] for row in cells] == [["64² to 256²", name] for name in bench_scaling.NAMES.values()]
    assert [row[4:] for row in cells][:2] == [["1.00", "1.00", "0%"], ["1.50", "1.50", cells[1][6]]]
    assert int(cells[1][6].rstrip("%")) > 10
    assert cells[2][6] == "0%"
    assert cells[0][3] == "4.1e+03 … 6.55e+04"
    stored = list(csv.DictReader((tmp_path / "new" / "scaling.csv").open()))
    assert [row["value"] for row in stored] == [side for side in ("64", "128", "256") for _ in range(3)]
    assert (tmp_path / "new" / "scaling.png").stat().st_size > 0


def test_an_existing_folder_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_scaling, "isolated", None)
    with pytest.raises(UserError, match="exists already"):
        bench(options(out=tmp_path))


@pytest.mark.slow
def test_more_images_cost_more_memory():
    one, eight = (measure(Point("fpn", "batch", size), ["model.net.channels=8"], "cpu", 1, 1) for size in (1, 8))
    assert min(one.forward_seconds, one.step_seconds) > 0
    assert eight.step_mib > 2 * one.step_mib > 0


@pytest.mark.slow
def test_a_process_that_is_ended_gives_nothing():
    assert isolated(os.getpid) != os.getpid()
    assert isolated(os._exit, 9) is None
