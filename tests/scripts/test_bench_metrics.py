"""The benchmark of the measures: it times and compares the same numbers on both sides."""

from __future__ import annotations

from argparse import Namespace
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from scripts import bench_metrics
from scripts.bench_metrics import bench, network_like


def options(masks: Path, *sizes: str, maps: int = 1, protocol: str = "field") -> Namespace:
    return Namespace(sizes=sizes, maps=maps, repeats=1, masks=masks, protocol=protocol)


@pytest.mark.parametrize("protocol", ["field", "raw"])
def test_table(protocol, tmp_path, capsys, monkeypatch):
    ticks = cycle([0.0, 0.03, 0.03, 0.04])  # theirs takes 30 ms, ours 10 ms
    monkeypatch.setattr(bench_metrics, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    masks = np.zeros((2, 40, 60), dtype=np.uint8)
    masks[0, 5:20, 10:30] = masks[1, 20:35, 30:55] = 255
    for i, mask in enumerate(masks):
        Image.fromarray(mask).save(tmp_path / f"{i}.png")
    bench(options(tmp_path, "48x64", "40x50", maps=2, protocol=protocol))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Protocol {protocol}, one thread, 2 maps per row")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:] if line.startswith("|")]
    header, _, *body = rows
    assert [row[0] for row in body] == ["48×64, synthetic", "40×50, synthetic", f"masks of {tmp_path}"]
    for row in body:
        cells = dict(zip(header, row, strict=True))
        assert [cells[name] for name in ("pysodmetrics", "ours", "ratio")] == ["30.0 ms", "10.00 ms", "3.0×"]
        assert float(cells["largest difference"]) < 1e-12


def test_no_folder_of_masks(tmp_path, capsys):
    bench(options(tmp_path / "absent", "32x32"))
    assert sum(line.startswith("|") for line in capsys.readouterr().out.splitlines()) == 3


def test_synthetic_maps_are_like_a_networks():
    target = np.zeros((120, 160), dtype=bool)
    target[30:90, 40:110] = True
    pred = network_like(target, seed=0)
    assert (pred.dtype, pred.shape) == (np.float32, target.shape)
    assert np.unique(np.round(pred * 255)).size > 200
    assert 0 < pred.min() < 0.01
    assert 0.9 < pred.max() < 1
    assert pred[target].mean() > 0.8
    assert pred[~target].mean() < 0.2
