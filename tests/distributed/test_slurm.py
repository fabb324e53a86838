"""Trainings under a real SLURM end with the same bits whatever stops them: `make test-slurm`."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from src.checkpoints.reading import read_checkpoint
from tests.fixtures.local_slurm import TRAINING, Job, cluster, slurm, submit, wait_for, why_not
from tests.fixtures.tiny import ROOT

REASON = why_not()
CLOCKS = {"epoch_seconds", "images_per_second", "peak_gib", "val/seconds"}
SLOW = "+callbacks.waits._target_=tests.fixtures.ddp_callbacks.Waits"
ONE_MINUTE = ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=10"]
"""SLURM announces the end 20 to 50 seconds after the start."""
HALF_A_SECOND = [SLOW, "+callbacks.waits.seconds=0.5"]
BEFORE = Path("/etc/hosts").read_bytes() if REASON is None else b""
pytestmark = [pytest.mark.slurm, pytest.mark.slow, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with cluster():
        yield
    assert Path("/etc/hosts").read_bytes() == BEFORE


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, _cluster: None) -> Path:
    """A training of two processes on one node that runs without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    job = submit(folder / "log", [], [*TRAINING, f"paths.output_dir={folder / 'run'}"])
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert "srun` command" not in job.output()
    return folder / "run"


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


def assert_same_end(whole: Path, other: Path) -> None:
    for name in ("last.ckpt", "best.ckpt"):
        first, second = (read_checkpoint(folder / "checkpoints" / name) for folder in (whole, other))
        assert len(first["exact_resume"]) == 2
        for part in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "exact_resume"):
            assert same(first[part], second[part]), (name, part)
    assert logged(whole) == logged(other)


def logged(folder: Path) -> dict[tuple[str, str], str]:
    """(step, name) → value of all `metrics.csv`, a later one over an earlier one."""
    values = {}
    for path in sorted(folder.glob("logs/version_*/metrics.csv")):
        for row in csv.DictReader(path.open()):
            values |= {(row["step"], name): value for name, value in row.items() if value and name not in CLOCKS}
    return values


def processes(word: str) -> list[int]:
    """Return the processes on this machine whose command line holds a word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if word in words and "src.train" in words and "srun" not in words[0]:
            found.append(int(path.parent.name))
    return sorted(found)


def test_two_nodes_are_one(whole, tmp_path):
    place = f"paths.output_dir={tmp_path / 'run'}"
    job = submit(tmp_path / "log", ["--nodes=2"], [*TRAINING, place], tasks=1)
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert job.fields()["NodeList"] == "node[1-2]"
    assert_same_end(whole, tmp_path / "run")


def test_sigterm(whole, tmp_path):
    """On two nodes: both tasks save and end, the script requeues its job, which resumes."""
    place = f"paths.output_dir={tmp_path / 'run'}"
    job = submit(tmp_path / "log", ["--nodes=2"], [*TRAINING, *HALF_A_SECOND, place], tasks=1)
    job.reached(2, tmp_path / "run")
    slurm("scancel", "--signal=TERM", job.number)
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert job.fields()["Restarts"] == "1"
    assert job.output().count("SIGTERM: stopping after this step") == 1
    assert "Traceback" not in job.output()
    assert_same_end(whole, tmp_path / "run")


def test_time_limit(whole, tmp_path):
    """`--signal` comes before the limit, which is set when the training has begun: starts take long here."""
    place = f"paths.output_dir={tmp_path / 'run'}"
    words = [*TRAINING, SLOW, "+callbacks.waits.seconds=5", place]
    job = submit(tmp_path / "log", ["--time=30", "--signal=TERM@10"], words)
    job.reached(1, tmp_path / "run")
    minutes, seconds = (int(part) for part in job.fields()["RunTime"].split(":")[1:])
    slurm("scontrol", "update", f"JobId={job.number}", f"TimeLimit={minutes + 1 + (seconds > 35)}")
    wait_for(lambda: job.fields()["Restarts"] == "1", 120, job.output)
    slurm("scontrol", "update", f"JobId={job.number}", "TimeLimit=30")
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert job.fields()["Restarts"] == "1"
    assert "DUE TO TIME LIMIT" not in job.output()
    assert_same_end(whole, tmp_path / "run")


def test_time_that_is_too_short(tmp_path):
    """A job that is stopped before it has saved anything must not be requeued, or it would be stopped for ever."""
    job = submit(tmp_path / "log", [], [*TRAINING, f"paths.output_dir={tmp_path / 'run'}"])
    wait_for(lambda: len(processes(f"paths.output_dir={tmp_path / 'run'}")) >= 2, 60, job.output)
    slurm("scancel", "--signal=TERM", job.number)
    assert job.ended()["JobState"] == "FAILED"
    assert job.fields()["Restarts"] == "0"
    assert "not requeued" in job.output()


def test_preemption_and_requeue(whole, tmp_path):
    """A job of higher priority takes the nodes; later somebody types `scontrol requeue`."""
    place = f"paths.output_dir={tmp_path / 'run'}"
    job = submit(tmp_path / "log", ["--partition=low", "--exclusive"], [*TRAINING, *HALF_A_SECOND, place])
    job.reached(1, tmp_path / "run")
    urgent = slurm(
        "sbatch", "--parsable", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"
    ).strip()
    assert Job(urgent, tmp_path / "none").ended()["JobState"] == "COMPLETED"
    wait_for(lambda: job.fields()["JobState"] == "RUNNING", 60, job.output)
    job.reached(5, tmp_path / "run")
    slurm("scontrol", "requeue", job.number)
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert int(job.fields()["Restarts"]) >= 2
    assert_same_end(whole, tmp_path / "run")


def test_a_task_that_is_killed(whole, tmp_path):
    """When one process is killed, the other does not wait for it; the job fails and can be requeued by hand."""
    place = f"paths.output_dir={tmp_path / 'run'}"
    job = submit(tmp_path / "log", [], [*TRAINING, *HALF_A_SECOND, place])
    job.reached(2, tmp_path / "run")
    os.kill(processes(place)[-1], signal.SIGKILL)
    assert job.ended(60)["JobState"] == "FAILED", job.output()
    assert "Traceback" not in job.output()
    slurm("scontrol", "requeue", job.number)
    wait_for(lambda: job.fields()["JobState"] == "RUNNING", 60, job.output)
    assert job.ended()["JobState"] == "COMPLETED", job.output()
    assert_same_end(whole, tmp_path / "run")


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_mistake_is_told_once(nodes, tmp_path):
    job = submit(
        tmp_path / "log",
        [f"--nodes={nodes}"],
        [*TRAINING, "ckpt_path=nowhere.ckpt", f"paths.output_dir={tmp_path}"],
        2 // nodes,
    )
    assert job.ended()["JobState"] == "FAILED"
    assert job.output().count("nowhere.ckpt") == 1
    assert "of the jobs failed" not in job.output()


def test_a_mistake_that_one_task_meets_in_the_training(tmp_path):
    fails = ["+callbacks.fails._target_=tests.fixtures.ddp_callbacks.Fails", "+callbacks.fails.rank=1"]
    job = submit(tmp_path / "log", [], [*TRAINING, *fails, f"paths.output_dir={tmp_path / 'run'}"])
    assert job.ended()["JobState"] == "FAILED"
    assert job.output().count("broken.jpg cannot be read by rank 1") == 1
    assert "Traceback" not in job.output()


def test_an_array_trains_one_seed_per_job(tmp_path):
    """Of two jobs one is stopped: it alone is requeued."""
    words = [*TRAINING, *HALF_A_SECOND, "trainer.max_epochs=1", "seed=%a", f"paths.output_dir={tmp_path}/%a"]
    job = submit(tmp_path / "log_%a", ["--array=0-1", "--ntasks-per-node=1"], words, tasks=1)
    second = Job(f"{job.number}_1", tmp_path / "log_1")
    second.reached(1, tmp_path / "1")
    slurm("scancel", "--signal=TERM", second.number)
    first = Job(f"{job.number}_0", tmp_path / "log_0")
    assert [one.ended()["JobState"] for one in (first, second)] == ["COMPLETED"] * 2
    assert [one.fields()["Restarts"] for one in (first, second)] == ["0", "1"]
    assert [OmegaConf.load(tmp_path / name / "config.yaml").seed for name in "01"] == [0, 1]
    refused = submit(tmp_path / "same", ["--array=0-0"], TRAINING)
    assert Job(f"{refused.number}_0", refused.log).ended()["JobState"] == "FAILED"
    assert "seed=%a" in refused.output()


def sweep(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "src.train",
        "-m",
        "hydra/launcher=submitit_slurm",
        "trainer=cpu",
        *TRAINING,
        *words,
    ]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, f"paths.output_dir={folder}"], cwd=ROOT, env=variables, stdout=pipe, stderr=pipe, text=True
    )


def record(folder: Path) -> dict[str, Any]:
    path = folder / "job.json"
    return json.loads(path.read_text()) if path.exists() else {}


def test_a_sweep_whose_jobs_fail_run_out_of_time_and_wait(tmp_path):
    """The first job is slow, runs out of time, is saved and starts again; the second fails; the third waits."""
    jobs = [SLOW, "+callbacks.waits.seconds=1.5,-1,0", "hydra.launcher.array_parallelism=2"]
    process = sweep(tmp_path, *jobs, *ONE_MINUTE, "hydra.launcher.max_num_timeout=9")
    wait_for(lambda: record(tmp_path / "0").get("state") == "running", 120, lambda: str(process.poll()))
    assert record(tmp_path / "2")["state"] == "waiting"
    table = subprocess.run(
        [sys.executable, "-m", "src.report.sweep", str(tmp_path), "--no-cost"], cwd=ROOT, capture_output=True, text=True
    )
    assert "waiting" in table.stdout, table.stderr
    wait_for(lambda: "its time is up" in record(tmp_path / "0").get("why", ""), 120, lambda: told(tmp_path))
    out, err = process.communicate(timeout=300)
    assert [record(tmp_path / name)["state"] for name in "012"] == ["finished", "failed", "finished"], (out, err)
    assert process.returncode == 1
    assert "1 of the 3 jobs failed" in err
    assert "memory" not in told(tmp_path)


def test_a_sweep_job_that_may_not_start_again_says_why(tmp_path):
    jobs = [SLOW, "+callbacks.waits.seconds=6", "trainer=ddp_cpu", "seed=0"]
    process = sweep(tmp_path, *jobs, *ONE_MINUTE, "hydra.launcher.max_num_timeout=0")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2, (err, told(tmp_path))
    assert record(tmp_path / "0")["state"] == "failed"
    assert "its time is up" in err
    assert "max_num_timeout" in err
    assert "memory" not in told(tmp_path)


def told(folder: Path) -> str:
    """Return what the jobs of a sweep have printed to stderr."""
    return "".join(path.read_text() for path in folder.glob(".submitit/*/*_log.err"))


def test_a_partition_that_does_not_exist(tmp_path):
    process = sweep(tmp_path / "sweep", "hydra.launcher.partition=nope", "seed=0,1")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 2
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert "invalid partition" in line.lower()
    assert "Traceback" not in err
    assert not (tmp_path / "sweep" / "0").exists()
