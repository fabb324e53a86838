"""What a command answers without importing torch, which takes seconds: help, and mistakes that need no class."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN_ONE = """
import runpy, sys
try:
    runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
except SystemExit as end:
    print("status", end.code or 0)
print("imported", *({"torch", "lightning", "wandb", "torchmetrics"} & sys.modules.keys()))
"""
ANSWERS = {
    "help": (["src.train", "--help"], 0, "== Config =="),
    "group": (["src.train", "model=nonsense"], 2, "model=nonsense: no such choice"),
    "key": (["src.train", "model.net.chanels=3"], 2, "did you mean model.net.channels?"),
    "key of a class": (["src.train", "trainer.max_time=1"], 2, "Trainer takes it: write +trainer.max_time=…"),
    "syntax": (["src.train", "trainer.max_epochs=[a"], 2, "no viable alternative"),
    "type": (["src.profile", "seed=x"], 2, "seed=x: expected a whole number"),
    "checkpoint to resume": (["src.train", "ckpt_path=nofile.ckpt"], 2, "ckpt_path: no file nofile.ckpt"),
    "checkpoint to evaluate": (["src.eval", "ckpt_path=nofile.ckpt"], 2, "ckpt_path: no file nofile.ckpt"),
    "files to predict with and of": (
        ["src.predict", "ckpt_path=nofile.ckpt", "input=nothing", "output=out"],
        2,
        "nothing",
    ),
    "folders to score": (["src.score", "preds=nowhere", "gts=nothing"], 2, "nowhere: no such folder"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "status", "answer"), ANSWERS.values(), ids=ANSWERS)
def test_torch_is_not_imported_for_an_answer_that_needs_none(words, status, answer, tmp_path):
    place = [] if "--help" in words else [f"paths.output_dir={tmp_path / 'run'}"]
    command = [sys.executable, "-c", RUN_ONE, words[0], *words[1:], *place]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=300)
    assert answer in done.stdout + done.stderr
    assert done.stdout.splitlines()[-2:] == [f"status {status}", "imported"]
