"""Which launcher started this process, and whether its devices exist: unit tests without a second process."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from src.cli import first_rank
from src.distributed.devices import check_devices
from src.utils.errors import UserError
from src.utils.launch import Launch, global_rank, launched, restarted, start_name
from tests.fixtures.tiny import ROOT, config

TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "4", "RANK": "5", "LOCAL_RANK": "1"}
SLURM = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4",
    "SLURM_PROCID": "6",
}


@pytest.fixture(autouse=True)
def _nobody(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "TORCHELASTIC_"))] + ["RANK", "LOCAL_RANK"]:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected", "rank"),
    [
        ({}, None, 0),
        ({"LOCAL_RANK": "1"}, None, 1),
        (TORCHRUN, Launch("torchrun", 8, 4), 5),
        (SLURM, Launch("srun", 8, 4), 6),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "2"}, Launch("srun", 2, 2), 6),  # a step smaller than its allocation
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None, 0),
        ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None, 0),  # a batch script without srun
    ],
)
def test_who_has_started_this_process(variables, expected, rank, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert launched() == expected
    assert global_rank() == rank


def test_the_tasks_of_a_step_share_a_name_and_a_requeued_job_keeps_it(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert start_name() == "slurm_4711_2"
    assert config("train", "experiment=quickstart").paths.output_dir == "outputs/train/slurm_4711_2"
    assert not restarted()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert restarted()


CPU = {"accelerator": "cpu", "devices": 1}
WRONG = {
    "no gpu": (
        {"accelerator": "gpu", "devices": 4},
        None,
        0,
        "trainer.accelerator=gpu, trainer.devices=4: this machine has no GPU",
    ),
    "too many": ({"accelerator": "gpu", "devices": 4}, None, 2, "trainer.devices=4: this machine has 2 GPUs"),
    "too many of auto": ({"accelerator": "auto", "devices": 2}, None, 1, "trainer.devices=2: this machine has 1 GPU"),
    "index": ({"accelerator": "gpu", "devices": [0, 2]}, None, 2, r"trainer.devices=\[0, 2\]: this machine has 2 GPUs"),
    "indices": ({"accelerator": "gpu", "devices": "1,2"}, None, 2, "trainer.devices=1,2: this machine has 2 GPUs"),
    "none": (CPU | {"devices": 0}, None, 0, "trainer.devices=0: a number of devices"),
    "word": (CPU | {"devices": "all"}, None, 0, "trainer.devices=all: a number of devices"),
    "machines": (CPU | {"num_nodes": 2}, None, 0, "trainer.num_nodes=2: several machines need torchrun or srun"),
    "another number": (
        CPU | {"devices": 2},
        Launch("torchrun", 8, 4),
        0,
        "trainer.devices=2: torchrun has started 4 processes",
    ),
    "more processes": (
        {"accelerator": "gpu", "devices": "auto"},
        Launch("torchrun", 4, 4),
        2,
        "4 processes on this machine, which has 2 GPUs",
    ),
    "norms": (
        CPU | {"devices": 2, "sync_batchnorm": True},
        None,
        0,
        "trainer.sync_batchnorm=true: works between GPUs only",
    ),
    "tasks": (CPU | {"devices": "auto"}, Launch("srun", 2, 2), 0, "--ntasks-per-node"),
}


@pytest.mark.parametrize(("trainer", "launch", "gpus", "words"), WRONG.values(), ids=WRONG)
def test_devices_that_are_not_there(trainer, launch, gpus, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=words):
        check_devices(OmegaConf.create(trainer), launch)


def test_devices_that_are_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for devices in (1, 4, "auto", -1, [0, 3], "0,3", "2"):
        assert (
            check_devices(OmegaConf.create({"accelerator": "gpu", "devices": devices, "sync_batchnorm": True}), None)
            == {}
        )
    trainer = OmegaConf.create({"accelerator": "gpu", "devices": "auto"})
    assert check_devices(trainer, Launch("torchrun", 8, 4)) == {"devices": 4, "num_nodes": 2}


def batch_script(
    folder: Path, status: int, saves: bool, *words: str, **variables: str
) -> tuple[int, list[str], str, str]:
    """Run the batch script with stand-ins for SLURM's commands; return status, arguments of srun and scontrol, stderr.

    The real ones: `make test-slurm`.
    """
    save = "mkdir -p $FOLDER/checkpoints; touch -d +1min $FOLDER/checkpoints/step.ckpt" if saves else ":"
    for name, end in {"srun": status, "scontrol": 0}.items():
        command = folder / name
        command.write_text(
            f'#!/bin/sh\necho "$@" > {folder}/{name}.txt\n{save if name == "srun" else ":"}\nexit {end}\n'
        )
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    variables |= {"PATH": f"{folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "8"}
    script = ["bash", str(ROOT / "scripts" / "slurm.sbatch"), *words]
    result = subprocess.run(script, cwd=folder, env=variables, check=False, capture_output=True, text=True)
    texts = [
        (folder / f"{name}.txt").read_text() if (folder / f"{name}.txt").exists() else ""
        for name in ("srun", "scontrol")
    ]
    return result.returncode, texts[0].split(), texts[1], result.stderr


@pytest.mark.parametrize(
    ("status", "saves", "requeued"), [(0, True, False), (1, True, False), (143, True, True), (143, False, False)]
)
def test_the_batch_script_requeues_what_was_stopped_and_has_saved(status, saves, requeued, tmp_path):
    folder = "outputs/train/slurm_4711"
    ended, srun, scontrol, err = batch_script(tmp_path, status, saves, "seed=3", FOLDER=folder)
    assert ended == status
    assert "--kill-on-bad-exit=1" in srun
    assert srun[-4:] == ["trainer=slurm", "data.num_workers=7", "seed=3", f"paths.output_dir={folder}"]
    assert scontrol == ("requeue 4711\n" if requeued else "")
    assert ("not requeued" in err) == (status == 143 and not saves)


def test_the_batch_script_in_an_array(tmp_path):
    array = {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": "2"}
    _, srun, scontrol, _ = batch_script(
        tmp_path, 143, True, "seed=%a", "paths.output_dir=out/%a", FOLDER="out/2", **array
    )
    assert srun[-3:] == ["seed=2", "paths.output_dir=out/2", "paths.output_dir=out/2"]
    assert scontrol == "requeue 4700_2\n"
    (tmp_path / "srun.txt").unlink()
    ended, srun, _, err = batch_script(tmp_path, 0, True, "seed=3", FOLDER="out", **array)
    assert (ended, srun) == (2, [])
    assert "seed=%a" in err


@pytest.mark.parametrize(
    ("rank", "node", "trained", "text", "reports", "waits"),
    [
        (0, 0, False, "wrong", True, False),
        (1, 0, False, "wrong", False, True),  # what rank 0 says
        (1, 1, False, "wrong", True, True),  # what rank 0 may not see
        (0, 0, True, "wrong", True, False),
        (1, 0, True, "wrong", True, False),  # this process's share of the images
        (0, 0, True, "Connection closed by peer", True, True),  # by a process that may have printed the reason
        (1, 0, True, "Connection closed by peer", False, True),
    ],
)
def test_which_process_reports(rank, node, trained, text, reports, waits, monkeypatch):
    for name, value in (SLURM | {"SLURM_PROCID": str(rank), "SLURM_NODEID": str(node)}).items():
        monkeypatch.setenv(name, value)
    slept: list[float] = []
    monkeypatch.setattr(first_rank.time, "sleep", slept.append)
    monkeypatch.setattr(first_rank._asked_to_end, "wait", slept.append)
    monkeypatch.setattr(first_rank.signal, "signal", lambda *_: None)
    error: Exception = UserError(text)
    if trained:
        with pytest.raises(UserError) as met, first_rank.of_training():
            raise error
        error = met.value
    assert first_rank.must_report(error) == reports
    assert bool(slept) == waits
    monkeypatch.setattr(first_rank._asked_to_end, "wait", lambda _: True)  # another process has reported it and ended
    assert first_rank.must_report(error) == (reports and not (waits and node))


def test_a_process_that_is_gone_is_one_line():
    with pytest.raises(UserError, match="another process of this training"), first_rank.of_training():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed by peer [127.0.0.1]:34535.")
