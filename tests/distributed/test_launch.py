"""Who has started this process, and whether its devices are there: unit by unit, without a second process."""

from __future__ import annotations

import os
import stat
import subprocess

import pytest
import torch
from omegaconf import OmegaConf

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


@pytest.mark.parametrize(("status", "requeued"), [(0, False), (1, False), (143, True)])
def test_the_batch_script_requeues_what_was_stopped(status, requeued, tmp_path):
    """With commands of the names that SLURM's have; SLURM itself is not here."""
    for name, end in {"srun": status, "scontrol": 0}.items():
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/{name}.txt\nexit {end}\n')
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "4711", "SLURM_CPUS_PER_TASK": "8"}
    result = subprocess.run(
        ["bash", ROOT / "scripts" / "slurm.sbatch", "seed=3"], cwd=tmp_path, env=variables, check=False
    )
    assert result.returncode == status
    assert (tmp_path / "srun.txt").read_text().split()[-4:] == [
        "trainer=slurm",
        "paths.output_dir=outputs/train/slurm_4711",
        "data.num_workers=7",
        "seed=3",
    ]
    assert (tmp_path / "scontrol.txt").is_file() == requeued
    assert not requeued or (tmp_path / "scontrol.txt").read_text() == "requeue 4711\n"
