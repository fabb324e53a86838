"""A training that was killed and resumed ends with the bits of one that never stopped."""

from __future__ import annotations

import csv
import errno
import os
import re
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
from src.checkpoints.rebuild import rebuild
from src.checkpoints.weights_file import export_bytes
from src.cli.command_line import override
from src.cli.run_folder import LOCK
from src.data import shared_memory
from src.distributed.signals import Interrupted
from src.module import COSModule
from src.report.network import _context
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
    """Start a training, send it a signal after so many step checkpoints, and return exit status and stderr."""
    words = [*TWO_STAGE_OVERRIDES, override("paths.output_dir", folder), *overrides]
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


def cut_and_resume(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hook: str, step: int, *overrides: str
) -> dict[str, float]:
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
    tmp_path /= "größer = kleiner, [2] {3} #4 'quoted' (5)"  # the printed line runs as it is

    status, told = kill_after(tmp_path, 1, signal.SIGTERM)
    assert status == 128 + signal.SIGTERM
    assert "Traceback" not in told
    (line,) = [line for line in told.splitlines() if line.startswith("stopped by SIGTERM at step ")]
    stored = read_checkpoint(tmp_path / "checkpoints" / "step.ckpt")["global_step"]
    before, _, printed = line.partition(" resume with: ")
    assert before == f"stopped by SIGTERM at step {stored};"
    assert printed.endswith(" ckpt_path=last")
    _, _, *words = shlex.split(printed)
    assert run_command(*words).returncode == 0
    assert_same_end(whole[0], tmp_path)


def test_a_request_to_stop_waits_for_the_end_of_a_validation(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            COSModule, "on_validation_epoch_start", lambda module: os.kill(os.getpid(), signal.SIGTERM), raising=False
        )
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


def test_prompts_are_the_same_after_a_resume(tmp_path, monkeypatch):
    """Also clicks, which depend on the network's mask at that step."""
    words = ["prompting=on", "data.prompts.clicks=1.0", "trainer.limit_train_batches=4"]
    run(tmp_path / "whole", *words)
    cut_and_resume(tmp_path / "broken", monkeypatch, "on_train_batch_start", 6, *words)
    first, second = last(tmp_path / "whole"), last(tmp_path / "broken")
    assert same(first["state_dict"], second["state_dict"])
    assert same(first["optimizer_states"], second["optimizer_states"])
    assert logged(tmp_path / "whole") == logged(tmp_path / "broken")
    with pytest.raises(UserError, match=r"data.prompts: this RUN takes none; prompting=on trains a RUN that does"):
        run(tmp_path / "forgotten", "data.prompts={_target_: src.data.prompt_recipe.PromptRecipe}")


def test_a_fine_tuning_inside_and_after_its_freeze(tmp_path, monkeypatch):
    """Killed in the frozen epoch, between the two, and in the second; the command stays the same, with `init`."""
    start = write_untrained(
        config("train", *TWO_STAGE_OVERRIDES, f"paths.output_dir={tmp_path}"), tmp_path / "start.ckpt"
    )
    words = [
        f"init={start}",
        "freeze=encoder",
        "callbacks.freeze.epochs=1",
        "callbacks=[default,ema]",
        "callbacks.step.every_n_steps=1",
    ]
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
    for part in (
        "state_dict",
        "current_model_state",
        "optimizer_states",
        "lr_schedulers",
        "global_step",
        "exact_resume",
    ):
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
    two = [
        "trainer.devices=2",
        "++trainer.strategy=ddp",
        "trainer.num_sanity_val_steps=0",
        "callbacks.step.every_n_steps=1",
    ]

    def complete(folder: Path, *overrides: str) -> None:  # by the command line, which starts the second process
        done = run_command("src.train", *TWO_STAGE_OVERRIDES, *two, f"paths.output_dir={folder}", *overrides)
        assert done.returncode == 0, done.stderr

    complete(tmp_path / "whole")
    status, told = kill_after(tmp_path / "broken", 1, signal.SIGTERM, *two)  # only the first process prints it
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
    scores = run(tmp_path / "now", "ckpt_path=last", "trainer.max_epochs=3", "test=true")
    assert any(name.startswith("test/") for name in scores)
    (best,) = [state for key, state in last(tmp_path / "now")["callbacks"].items() if "val/s_alpha" in key]
    (best_before,) = [state for key, state in there.items() if "val/s_alpha" in key]
    assert best["best_model_path"] == str(folder / "best.ckpt")
    assert best["best_model_score"] >= best_before["best_model_score"]


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    words = [
        "callbacks=[default,early_stopping]",
        "callbacks.early_stopping.patience=1",
        "+callbacks.early_stopping.min_delta=2",
    ]
    run(tmp_path, *words, "trainer.max_epochs=5")
    stopped = last(tmp_path)
    run(tmp_path, *words, "trainer.max_epochs=5", "ckpt_path=last")
    assert last(tmp_path)["global_step"] == stopped["global_step"]
    run(tmp_path, words[0], "callbacks.early_stopping.patience=2", words[2], "trainer.max_epochs=5", "ckpt_path=last")
    assert last(tmp_path)["global_step"] == 3 * stopped["global_step"] // 2


def test_fewer_epochs_than_are_done_are_refused_and_leave_nothing(tmp_path):
    run(tmp_path)

    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != LOCK}

    before = content()
    with pytest.raises(UserError, match=r"trainer\.max_epochs=1: .*last\.ckpt"):
        run(tmp_path, "ckpt_path=last", "trainer.max_epochs=1")
    assert content() == before


def test_the_selection_travels_in_the_checkpoint(whole, tmp_path):
    """The record is in the file, not in its name: a renamed best.ckpt still counts as selected, last.ckpt as not."""
    best, newest = (whole[0] / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    shutil.copy(best, tmp_path / "submitted.ckpt")
    shutil.copy(newest, tmp_path / "best.ckpt")
    (tmp_path / "x.safetensors").write_bytes(export_bytes(read_checkpoint(best), best))
    told = {}
    for path in (tmp_path / "submitted.ckpt", tmp_path / "best.ckpt", tmp_path / "x.safetensors"):
        module = rebuild(read_checkpoint(path), path)
        data = {"image_size": 64, "test_images": {}, "notes": [], "selected_on": "something else"}
        told[path.name] = list(_context(data, path, None, module.selection))[1]
    words = "selected on: 4 scenes that training never sees."
    assert told == {
        "submitted.ckpt": f"Checkpoint: submitted.ckpt, {words}",
        "best.ckpt": "Checkpoint: best.ckpt, not selected on anything.",
        "x.safetensors": f"Checkpoint: x.safetensors, {words}",
    }


def test_shared_memory_that_is_too_small_is_told_before_the_start(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 20, 0, 1 << 17))
    with pytest.raises(
        UserError, match=r"data\.num_workers=2: .*/dev/shm has 0 MB free.*--shm-size=2g.*data\.batch_size"
    ):
        run(tmp_path / "run", "data.num_workers=2")
    assert not (tmp_path / "run" / "config.yaml").exists()


DYING = """
import multiprocessing, os, runpy, signal
from src.module import COSModule

def kill(*_):
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGKILL)

COSModule.on_validation_epoch_start = kill
runpy.run_module("src.train", run_name="__main__", alter_sys=True)
"""


def test_a_loader_that_dies_ends_the_training_with_its_cause(tmp_path):
    """In a process of its own, as torch would report the dead loader in any later test of this one."""
    words = [*TWO_STAGE_OVERRIDES, f"paths.output_dir={tmp_path}", "data.num_workers=1"]
    ended = run_command("-c", DYING, *words, "trainer.num_sanity_val_steps=0")
    assert ended.returncode == 2
    told = r"a process that loads images has died with data\.batch_size=2 and data\.image_size=64: .*Killed"
    assert re.search(told, ended.stderr)


REFUSED = {
    "rate": (["model.optimizer.lr=0.5"], ["model.optimizer.lr=0.5, and 0.001 in the checkpoint", "init="]),
    "several": (
        ["+model.optimizer.amsgrad=true", "seed=3"],
        ["model.optimizer.amsgrad=true, and null", "seed=3, and 0"],
    ),
    "schedule": (["scheduler=step"], ["model.scheduler"]),
    "network": (["model.net.mask_step.mu=0.7"], ["model.net.mask_step.mu=0.7"]),
    "average": (["callbacks=[default,ema]"], ["callbacks.ema"]),
    "data": (["data.seed=4"], ["data.seed=4, and 0"]),
}


@pytest.mark.parametrize(("overrides", "words"), REFUSED.values(), ids=REFUSED)
def test_what_the_checkpoint_decides_is_not_recorded_otherwise(overrides, words, whole):
    before = (whole[0] / "config.yaml").read_bytes()
    with pytest.raises(UserError) as refused:
        run(whole[0], "ckpt_path=last", *overrides)
    assert all(word in str(refused.value) for word in words), refused.value
    assert (whole[0] / "config.yaml").read_bytes() == before


def test_what_the_command_decides_is_told_used_and_recorded(whole, tmp_path, capsys):
    shutil.copytree(whole[0], tmp_path / "run")
    more = ["trainer.max_epochs=3", "trainer.gradient_clip_val=0.5", "trainer.limit_train_batches=2"]
    run(tmp_path / "run", "ckpt_path=last", *more)
    told = capsys.readouterr().out
    assert "from here on, by this command: " in told
    assert "trainer.max_epochs=3 (was 2)" in told
    assert "trainer.gradient_clip_val=0.5 (was 1.0)" in told
    assert last(tmp_path / "run")["config"]["trainer"]["gradient_clip_val"] == 0.5
    assert last(tmp_path / "run")["epoch"] == 2
    run(tmp_path / "run", "ckpt_path=last", *more)
    assert "nothing is left to train: " in capsys.readouterr().out


def test_a_test_leaves_the_record_of_the_training(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    before = (tmp_path / "run" / "config.yaml").read_bytes()
    run(tmp_path / "run", "ckpt_path=last", "train=false", "test=true", "model.optimizer.lr=0.5")
    assert (tmp_path / "run" / "config.yaml").read_bytes() == before


def test_images_that_came_between_two_halves_of_a_training(tmp_path, cod_root):
    root = tmp_path / "data"
    shutil.copytree(cod_root, root)
    folded = ["data=camo", f"data.root={root}", "data.num_workers=0", "data.folds=3", "data.augmentation=null"]
    words = [word for word in TWO_STAGE_OVERRIDES if not word.startswith(("experiment=", "data.num"))]
    words += [
        *folded,
        "data/augmentation=none",
        "trainer.limit_train_batches=1",
        "trainer.limit_val_batches=1",
        "trainer.max_epochs=1",
    ]
    words = [word for word in words if word != "data.augmentation=null"] + ["trainer.num_sanity_val_steps=0"]
    folder = f"paths.output_dir={tmp_path / 'run'}"
    train(config("train", *words, folder))
    images = sorted((root / "TrainDataset" / "CAMO" / "Imgs").iterdir())
    more = [*words, folder, "ckpt_path=last", "trainer.max_epochs=2"]
    for place, source in enumerate(images[:4]):
        for kind, suffix in (("Imgs", ".jpg"), ("GT", ".png")):
            shutil.copy(
                source.parents[1] / kind / f"{source.stem}{suffix}",
                root / "TrainDataset" / "CAMO" / kind / f"new_{place}{suffix}",
            )
    with pytest.raises(
        UserError, match=r"were trained on and would validate, because the set of images has changed: camourflage_"
    ):
        train(config("train", *more))
    shutil.rmtree(root / "TrainDataset" / "CAMO")
    shutil.copytree(cod_root / "TrainDataset" / "COD10K", root / "TrainDataset" / "CAMO")
    with pytest.raises(UserError, match=r"these are other training images \(COD10K"):
        train(config("train", *more))
    shutil.rmtree(root)
    shutil.copytree(cod_root, root)
    train(config("train", *more))
    assert last(tmp_path / "run")["epoch"] == 1


def test_a_checkpoint_that_lies_elsewhere_alone_keeps_what_it_knows(tmp_path):
    run(tmp_path / "run")
    copy = tmp_path / "copy.ckpt"
    shutil.copy(tmp_path / "run" / "checkpoints" / "last.ckpt", copy)
    loaded = AtomicCheckpointIO().load_checkpoint(copy, weights_only=True)
    assert same(loaded["callbacks"], read_checkpoint(copy)["callbacks"])
