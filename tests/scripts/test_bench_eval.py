"""The benchmark of `src.eval` times a test and its parts."""

from __future__ import annotations

from argparse import Namespace

import pytest

from scripts.bench_eval import bench
from tests.fixtures.folders import write_cod
from tests.fixtures.tiny import TINY_OVERRIDES, config
from tests.fixtures.trained_run import write_untrained


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_part_takes_time_and_the_whole_most(tmp_path, capsys):
    root = write_cod(tmp_path / "data", test=4)
    where = ["experiment=camo_lite0", *TINY_OVERRIDES, f"data.root={root}", "model.net.channels=16"]
    path = write_untrained(config("train", *where, f"paths.output_dir={tmp_path}"), tmp_path / "untrained.ckpt")
    overrides = [f"ckpt_path={path}", "trainer=cpu", "data.batch_size=2"]
    found = bench(Namespace(batches=2, rounds=1, overrides=overrides))
    parts = ["loading", "enlarging", "scoring"]
    assert list(found) == ["network", "whole", *(f"{part} (CPU time)" for part in parts)]
    assert min(found.values()) > 0
    assert found["whole"] > found["network"]
    assert capsys.readouterr().out.startswith("4 images, ")
