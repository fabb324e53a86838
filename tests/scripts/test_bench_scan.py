"""The growth of the scan's time: ratios and exponents match the times, and checkouts take turns."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import ClassVar

import pytest

from scripts import bench_scan
from scripts.bench_scan import LOOP_BACKWARD, Timer, bench
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT


def options(**changes) -> Namespace:
    given = {"lengths": [64, 256], "threads": 2, "repeats": 3, "device": "cpu", "growth": True, "against": None}
    return Namespace(**given | changes)


class FakeTimer:
    """A scan of 1 µs per token, twice that with gradients; one of another checkout is a quarter slower."""

    asked: ClassVar[list[tuple[Path, str, int, bool, int]]] = []

    def __init__(self, checkout: Path) -> None:
        self.checkout = checkout

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def seconds(self, backend, length, backward, threads, _device):
        self.asked.append((self.checkout, backend, length, backward, threads))
        busy = 9 if len(self.asked) < 4 else 0  # at first
        rate = 80 if backend == "loop" else 1 if self.checkout == ROOT else 1.25
        return busy + rate * 1e-6 * length * (2 if backward else 1)


def write_checkout(folder: Path) -> None:
    """Write a checkout without a scan."""
    (folder / "src" / "ops").mkdir(parents=True)
    for package in ("src", "src/ops"):
        (folder / package / "__init__.py").touch()


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setattr(bench_scan, "Timer", FakeTimer)
    monkeypatch.setattr(FakeTimer, "asked", [])
    return FakeTimer


def rows(out: str) -> list[list[str]]:
    lines = [line for line in out.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


def test_ratios_and_exponents_are_of_the_fastest_times(fake, capsys):
    bench(options())
    out = capsys.readouterr().out
    assert rows(out) == [["64", "0.06 ms", "80.0", "0.13 ms", "80.0"], ["256", "0.26 ms", "80.0", "0.51 ms", "80.0"]]
    assert "forward: time ∝ L^1.00 (L = 64 to 256; last two: 1.00), off a line 0%" in out


def test_checkouts_take_turns_and_the_loop_runs_here_on_one_thread(fake, capsys, tmp_path):
    write_checkout(tmp_path)
    bench(options(lengths=[64], against=tmp_path))
    assert rows(capsys.readouterr().out) == [
        ["64", "0.06 ms", "80.0", "0.13 ms", "80.0", "0.08 ms", "1.25", "0.16 ms", "1.25"]
    ]
    kernels = [(ROOT, "auto"), (ROOT, "auto"), (tmp_path, "auto"), (tmp_path, "auto")]
    loop = [(ROOT, "loop"), (ROOT, "loop")]
    assert [one[:2] for one in fake.asked] == [*kernels, *loop, *kernels, *loop, *kernels]
    assert {one[1:2] + one[4:] for one in fake.asked} == {("auto", 2), ("loop", 1)}


def test_gradients_of_a_long_loop_would_fill_the_memory(fake, capsys):
    bench(options(lengths=[2 * LOOP_BACKWARD]))
    assert rows(capsys.readouterr().out)[0][-1] == "–"
    assert {one[3] for one in fake.asked if one[1] == "loop"} == {False}


def test_a_folder_that_is_no_checkout_is_named(fake, tmp_path):
    with pytest.raises(UserError, match="has no src/ops"):
        bench(options(against=tmp_path))
    assert fake.asked == []


@pytest.mark.slow
def test_a_checkout_is_timed_in_a_process_of_its_own(tmp_path, capfd):
    with Timer(ROOT) as timer:
        assert timer.seconds("loop", 8, True, 1, "cpu") > 0
    write_checkout(tmp_path)
    with Timer(tmp_path) as timer, pytest.raises(UserError, match="could not be timed"):
        timer.seconds("loop", 8, False, 1, "cpu")
    assert "ImportError" in capfd.readouterr().err
