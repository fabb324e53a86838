"""A run's folder belongs to one live process, and no file that is not the run's is overwritten in it."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from copy import deepcopy
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.reading import read_checkpoint
from src.cli.job_record import JobNote
from src.cli.output_folder import CheckOutputFolder
from src.cli.run_folder import LOCK, held, release
from src.train import train
from src.utils import launch
from src.utils.errors import UserError
from tests.fixtures.tiny import TWO_STAGE_OVERRIDES, tiny_quickstart
from tests.fixtures.warm_python import WarmProcess, run, start

HOLD = (
    "import sys; from pathlib import Path; from src.cli.run_folder import hold; "
    "hold(Path(sys.argv[1])); print('held', flush=True)"
)
FORK = "import os, time\nif os.fork() == 0: time.sleep(60); os._exit(0)\nprint(flush=True); time.sleep(60)"


def wait_for(path: Path, process: WarmProcess) -> None:
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists(), process.communicate(5)


def unnamed(folder: Path) -> DictConfig:
    hydra = {"run": {"dir": "${paths.output_dir}"}, "sweep": {"dir": "${paths.output_dir}"}, "output_subdir": ".hydra"}
    return OmegaConf.create({"paths": {"output_dir": f"{folder}/${{start_name:}}"}, "hydra": hydra})


@pytest.mark.parametrize("mode", ["run", "multirun"])
def test_a_folder_that_nobody_named_is_a_new_one(mode, tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "datetime", type("Clock", (), {"now": staticmethod(lambda: time)}))
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    configs = [unnamed(tmp_path) for _ in range(3)]
    for config in configs:
        getattr(CheckOutputFolder(), f"on_{mode}_start")(config)
    assert [deepcopy(config).hydra.run.dir for config in configs] == [
        f"{tmp_path}/{name}" for name in ("now", "now_2", "now_3")
    ]
    for config in configs:
        release(Path(config.paths.output_dir))


@pytest.mark.slow
def test_a_folder_is_held_until_the_process_ends_whatever_its_children_do(tmp_path):
    holder = start("-c", f"{HOLD}\n{FORK}", str(tmp_path))  # its child lives on
    wait_for(tmp_path / LOCK, holder)
    time.sleep(0.1)
    with pytest.raises(UserError, match=rf"{tmp_path} is in use by process \d+ on .*paths\.output_dir"), held(tmp_path):
        pass
    assert "is in use by process" in run("-c", HOLD, str(tmp_path)).stderr
    holder.send_signal(signal.SIGKILL)
    while holder.poll() is None:
        time.sleep(0.01)
    with held(tmp_path), held(tmp_path):
        assert "is in use by process" in run("-c", HOLD, str(tmp_path)).stderr
    assert run("-c", HOLD, str(tmp_path)).stdout == "held\n"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_live_training_keeps_its_folder_and_its_notes(tmp_path):
    short = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=1", "trainer.num_sanity_val_steps=0"]
    words = ["src.train", *TWO_STAGE_OVERRIDES, *short, "data.num_workers=2", f"paths.output_dir={tmp_path}"]
    words += ["callbacks.step.every_n_steps=1"]
    first = start(*words)
    wait_for(tmp_path / "checkpoints" / "step.ckpt", first)
    first.send_signal(signal.SIGSTOP)
    notes = (tmp_path / ".hydra" / "overrides.yaml").read_bytes()
    second = run(*words, "ckpt_path=last", "seed=5")
    assert second.returncode == 2
    assert f"error: paths.output_dir: {tmp_path} is in use by process {first.pid} on " in second.stderr
    assert (tmp_path / ".hydra" / "overrides.yaml").read_bytes() == notes
    first.send_signal(signal.SIGKILL)
    again = run(*words, "ckpt_path=last")  # at once: the first one's workers still live
    assert again.returncode == 0, again.stderr
    assert read_checkpoint(tmp_path / "checkpoints" / "last.ckpt")["global_step"] == 6


@pytest.mark.slow
def test_the_same_multirun_skips_what_is_finished_and_resumes_what_has_begun(tmp_path):
    words = [
        "src.train",
        "-m",
        *TWO_STAGE_OVERRIDES,
        "callbacks.step.every_n_steps=1",
        "seed=0,1",
        f"paths.output_dir={tmp_path}",
    ]
    killed = start(*words)
    wait_for(tmp_path / "1" / "checkpoints" / "step.ckpt", killed)
    killed.send_signal(signal.SIGKILL)
    finished = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "0").rglob("*")
        if path.is_file() and path.name != LOCK and path.parent.name != ".hydra"
    }
    again = run(*words)
    assert again.returncode == 0, again.stderr
    assert f"{tmp_path / '0'}: finished before, skipped" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert json.loads((tmp_path / "1" / "job.json").read_text())["state"] == "finished"
    assert OmegaConf.load(tmp_path / "1" / "config.yaml").ckpt_path == "last"
    other = run(*[word.replace("seed=0,1", "seed=3,1") for word in words])
    assert other.returncode == 2
    assert f"{tmp_path / '0'} holds another job (these differ: seed=0, seed=3)" in other.stderr
    assert {path: path.stat().st_mtime_ns for path in finished} == finished


@pytest.mark.parametrize("name", ["config.yaml", "metrics.csv", "report.html"])
def test_files_of_somebody_else_are_not_overwritten(name, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=rf"no run's folder and holds {name}"):
        train(tiny_quickstart(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.slow
def test_a_folder_on_a_full_disk_is_held_all_the_same(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(os, "pwrite", full)
    with held(tmp_path):
        assert "is in use by another process" in run("-c", HOLD, str(tmp_path)).stderr


def test_another_checkpoint_is_another_job(tmp_path):
    JobNote(tmp_path, ["ckpt_path=a.ckpt"]).write({"state": "finished"})
    assert JobNote(tmp_path, ["ckpt_path=a.ckpt"]).is_done
    with pytest.raises(UserError, match=r"another job \(these differ: ckpt_path=a.ckpt, ckpt_path=b.ckpt\)"):
        JobNote(tmp_path, ["ckpt_path=b.ckpt"])


def test_a_job_that_resumes_is_the_same(tmp_path):
    JobNote(tmp_path, ["seed=1"]).write({"state": "stopped"})
    assert JobNote(tmp_path, ["seed=1", "ckpt_path=last"]).is_again


def test_a_checkpoint_from_elsewhere_takes_no_other_runs_place(tmp_path):
    for folder in ("mine", "other"):
        (tmp_path / folder / "checkpoints").mkdir(parents=True)
        (tmp_path / folder / "checkpoints" / "last.ckpt").touch()
    foreign = f"ckpt_path={tmp_path / 'other' / 'checkpoints' / 'last.ckpt'}"
    with pytest.raises(UserError, match="mine already holds another training than that of ckpt_path="):
        train(tiny_quickstart(tmp_path / "mine", foreign))
    (tmp_path / "mine" / "report.html").touch()
    with pytest.raises(UserError, match="mine already holds a report"):
        train(tiny_quickstart(tmp_path / "mine", foreign, "train=false"))
