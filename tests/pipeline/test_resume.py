"""A training that was killed and resumed ends with the bits of one that never stopped."""

from __future__ import annotations

import csv
import errno
import os
import shlex
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from src.checkpoints import atomic_io as checkpoint_io
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.checkpoints.reading import read_checkpoint
from src.distributed.signals import Interrupted
from src.module import COSModule
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.tiny import TWO_STAGE_OVERRIDES, config
from tests.fixtures.trained_run import write_untrained
from tests.fixtures.warm_python import run as run_command
from tests.fixtures.warm_python import start

CLOCKS = {"epoch_seconds", "images_per_second", "peak_gib", "val/seconds"}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning")]


def run(folder: Path, *overrides: str) -> dict[str, float]:
    scores = train(config("train", *TWO_STAGE_OVERRIDES, f"paths.output_dir={folder}", *overrides))
    return {name: value for name, value in scores.items() if name not in CLOCKS}


def last(folder: Path) -> dict[str, Any]:
    return read_checkpoint(folder / "checkpoints" / "last.ckpt")


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def assert_same_end(whole: Path, broken: Path) -> None:
    first, second = last(whole), last(broken)
    assert first["global_step"] == second["global_step"] == 16
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "exact_resume"):
        assert same(first[part], second[part]), part
    assert logged(whole) == logged(broken)
    assert sorted(path.name for path in (broken / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]


def logged(folder: Path) -> dict[tuple[str, str], str]:
    """(step, name) → value of all `metrics.csv`, a later one over an earlier one."""
    values = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.open()):
            values |= {(row["step"], name): value for name, value in row.items() if value and name not in CLOCKS}
    return values


def kill_after(folder: Path, saves: int, signum: int, *overrides: str) -> tuple[int | None, str]:
    """Start a training, send it a signal once it has written so many step checkpoints; return exit status and stderr."""
    words = [*TWO_STAGE_OVERRIDES, f"paths.output_dir={folder}", *overrides]
    process = start("src.train", *words)
    seen: set[int] = set()
    deadline = time.monotonic() + 300
    while len(seen) < saves and process.poll() is None and time.monotonic() < deadline:
        try:
            seen.add((folder / "checkpoints" / "step.ckpt").stat().st_mtime_ns)
        except FileNotFoundError:
            time.sleep(0.005)
    process.send_signal(signum)
    _, told = process.communicate(timeout=120)
    return process.returncode, told


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, dict[str, float]]:
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(folder)


def power_cut(step: int) -> Any:
    def cut(module: COSModule, *_: Any) -> None:
        if module.global_step == step:
            raise RuntimeError("power cut")

    return cut


def cut_and_resume(folder: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int, *overrides: str) -> dict[str, float]:
    with monkeypatch.context() as patch:
        patch.setattr(COSModule, hook, power_cut(step), raising=False)
        with pytest.raises(RuntimeError, match="power cut"):
            run(folder, *overrides)
    return run(folder, *overrides, "ckpt_path=last")


@pytest.mark.parametrize("saves", [2, 4])  # in the first epoch, in the second
def test_killed_in_the_middle_of_an_epoch(saves, whole, tmp_path):
    workers = "data.num_workers=2"  # which have prefetched what the network has not seen
    status, told = kill_after(tmp_path, saves, signal.SIGKILL, workers)
    assert status == -signal.SIGKILL, told
    scores = run(tmp_path, workers, "ckpt_path=last")
    assert_same_end(whole[0], tmp_path)
    assert scores == whole[1]


@pytest.mark.parametrize(("hook", "step"), [("on_train_epoch_start", 8), ("on_validation_epoch_start", 8)])
def test_cut_elsewhere_with_workers(hook, step, whole, tmp_path, monkeypatch):
    scores = cut_and_resume(tmp_path, monkeypatch, hook, step, "data.num_workers=2")
    assert_same_end(whole[0], tmp_path)
    assert scores == whole[1]


def test_sigterm_saves_and_says_how_to_go_on(whole, tmp_path):
    status, told = kill_after(tmp_path, 1, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("stopped by SIGTERM at step ")]
    stored = read_checkpoint(tmp_path / "checkpoints" / "step.ckpt")["global_step"]
    assert line.startswith(f"stopped by SIGTERM at step {stored}; resume with: python -m src.train experiment=quickstart ")
    assert line.endswith(f" paths.output_dir={tmp_path} ckpt_path=last")
    _, _, *words = shlex.split(line.partition("resume with: ")[2])
    assert run_command(*words).returncode == 0
    assert_same_end(whole[0], tmp_path)


def test_a_request_to_stop_waits_for_the_end_of_a_validation(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(COSModule, "on_validation_epoch_start", lambda module: os.kill(os.getpid(), signal.SIGTERM), raising=False)
        with pytest.raises(Interrupted) as stopped:
            run(tmp_path, "trainer.num_sanity_val_steps=0")
    assert stopped.value.code == 128 + signal.SIGTERM
    assert last(tmp_path)["global_step"] == 8
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    run(tmp_path, "ckpt_path=last")
    assert_same_end(whole[0], tmp_path)


SETTINGS = {
    "step": ["scheduler=step"],
    "ema": ["callbacks=[default,ema]"],
    "accumulate": ["++trainer.accumulate_grad_batches=2", "callbacks.step.every_n_steps=1"],
}


@pytest.mark.parametrize("overrides", SETTINGS.values(), ids=SETTINGS)
def test_other_settings(overrides, tmp_path, monkeypatch):
    noisy = COSModule.forward

    def forward(module: COSModule, image: torch.Tensor) -> Any:
        return noisy(module, image + 0.01 * torch.rand_like(image))  # as a network with dropout draws

    monkeypatch.setattr(COSModule, "forward", forward)
    run(tmp_path / "whole", *overrides)
    cut_and_resume(tmp_path / "broken", monkeypatch, "on_train_batch_start", 5, *overrides)
    first, second = last(tmp_path / "whole"), last(tmp_path / "broken")
    assert same(first["state_dict"], second["state_dict"])
    assert same(first["exact_resume"], second["exact_resume"])
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")


def test_a_fine_tuning_inside_and_after_its_freeze(tmp_path, monkeypatch):
    """Killed in the frozen epoch, between the two, and in the one after it; the command line stays the same, `init` included."""
    start = write_untrained(config("train", *TWO_STAGE_OVERRIDES, f"paths.output_dir={tmp_path}"), tmp_path / "start.ckpt")
    words = [f"init={start}", "freeze=encoder", "callbacks.freeze.epochs=1", "callbacks=[default,ema]", "callbacks.step.every_n_steps=1"]
    words += ["trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.num_sanity_val_steps=0"]
    run(tmp_path / "whole", *words)
    again: list[str] = []
    for hook, step in (("on_train_batch_start", 2), ("on_train_epoch_start", 3), ("on_train_batch_start", 5)):
        with monkeypatch.context() as patch:
            patch.setattr(COSModule, hook, power_cut(step), raising=False)
            with pytest.raises(RuntimeError, match="power cut"):
                run(tmp_path / "broken", *words, *again)
        again = ["ckpt_path=last"]
        start.unlink(missing_ok=True)  # a resumed training has its weights
    run(tmp_path / "broken", *words, *again)
    first, second = last(tmp_path / "whole"), last(tmp_path / "broken")
    assert first["global_step"] == 6
    for part in ("state_dict", "current_model_state", "optimizer_states", "lr_schedulers", "global_step", "exact_resume"):
        assert same(first[part], second[part]), part
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")
    assert second["config"]["started_from"] == "research use, trained on synthetic"


def test_a_full_disk_ends_the_training_and_the_last_good_checkpoint_goes_on(whole, tmp_path, monkeypatch):
    write, written = checkpoint_io._write, []

    def full_after_one(path: Path, content: memoryview) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io, "_write", full_after_one)
        with pytest.raises(UserError, match=r"No space left on device .*step\.ckpt"):
            run(tmp_path)
    assert read_checkpoint(tmp_path / "checkpoints" / "step.ckpt")["global_step"] == 3
    run(tmp_path, "ckpt_path=last")
    assert_same_end(whole[0], tmp_path)


def test_two_processes_stop_together_and_resume(tmp_path):
    two = ["trainer.devices=2", "++trainer.strategy=ddp", "trainer.num_sanity_val_steps=0", "callbacks.step.every_n_steps=1"]

    def complete(folder: Path, *overrides: str) -> None:  # by the command line, which starts the second process
        done = run_command("src.train", *TWO_STAGE_OVERRIDES, *two, f"paths.output_dir={folder}", *overrides)
        assert done.returncode == 0, done.stderr

    complete(tmp_path / "whole")
    status, told = kill_after(tmp_path / "broken", 1, signal.SIGTERM, *two)  # the first process alone is told
    assert status == 128 + signal.SIGTERM, told
    complete(tmp_path / "broken", "ckpt_path=last")
    first, second = last(tmp_path / "whole"), last(tmp_path / "broken")
    for part in ("state_dict", "optimizer_states", "exact_resume", "global_step"):
        assert same(first[part], second[part]), part
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")


def test_a_run_whose_folder_was_renamed_keeps_its_best_score(tmp_path):
    run(tmp_path / "before")
    there = read_checkpoint(tmp_path / "before" / "checkpoints" / "last.ckpt")["callbacks"]
    (tmp_path / "before").rename(tmp_path / "now")
    folder = tmp_path / "now" / "checkpoints"
    scores = run(tmp_path / "now", "ckpt_path=last", "trainer.max_epochs=3", "model.optimizer.lr=0", "test=true")
    assert any(name.startswith("test/") for name in scores)
    (best,) = [state for key, state in last(tmp_path / "now")["callbacks"].items() if "val/s_alpha" in key]
    (best_before,) = [state for key, state in there.items() if "val/s_alpha" in key]
    assert best["best_model_path"] == str(folder / "best.ckpt")
    assert best["best_model_score"] >= best_before["best_model_score"]


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    words = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1", "+callbacks.early_stopping.min_delta=2"]
    run(tmp_path, *words, "trainer.max_epochs=5")
    stopped = last(tmp_path)
    run(tmp_path, *words, "trainer.max_epochs=5", "ckpt_path=last")
    assert last(tmp_path)["global_step"] == stopped["global_step"]
    run(tmp_path, words[0], "callbacks.early_stopping.patience=2", words[2], "trainer.max_epochs=5", "ckpt_path=last")
    assert last(tmp_path)["global_step"] == 3 * stopped["global_step"] // 2


def test_fewer_epochs_than_are_done_are_refused_and_leave_nothing(tmp_path):
    run(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"trainer\.max_epochs=1: .*last\.ckpt"):
        run(tmp_path, "ckpt_path=last", "trainer.max_epochs=1")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_checkpoint_that_lies_elsewhere_alone_keeps_what_it_knows(tmp_path):
    run(tmp_path / "run")
    copy = tmp_path / "copy.ckpt"
    shutil.copy(tmp_path / "run" / "checkpoints" / "last.ckpt", copy)
    loaded = AtomicCheckpointIO().load_checkpoint(copy, weights_only=True)
    assert same(loaded["callbacks"], read_checkpoint(copy)["callbacks"])
