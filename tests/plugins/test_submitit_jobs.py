"""What the project adds to submitit's launchers, tested without a cluster; `make test-slurm` has one."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.cli.job_record import read_record
from src.distributed.signals import Interrupted
from src.utils.errors import UserError

pytest.importorskip("submitit", reason="pip install -e '.[cluster]'")
sys.path.append(str(Path(__file__).parents[2] / "src" / "plugins"))
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from hydra_plugins.submitit_jobs import SlurmJobs


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """A launcher of a multirun in ``tmp_path``, in a process that is a job of it."""
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("PYTHONPATH", "")
    launcher = SlurmJobs(timeout_min=60)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path), "subdir": "${hydra:job.num}"}}})
    return launcher


def stopped(signum):
    def run(*_):
        raise Interrupted(signum)

    return run


def test_a_job_whose_time_is_up_starts_again(jobs, tmp_path, monkeypatch):
    def requeue(signum, frame):
        assert signum == signal.SIGUSR2
        raise SystemExit(-1)

    (tmp_path / "3").mkdir()
    monkeypatch.setattr(BaseSubmititLauncher, "__call__", stopped(signal.SIGUSR2))
    monkeypatch.setattr(signal, "getsignal", lambda _: requeue)
    with pytest.raises(SystemExit) as end:
        jobs([], "", 3, "", {})
    assert end.value.code == -1
    assert read_record(tmp_path / "3")["state"] == "stopped"
    assert "its time is up" in read_record(tmp_path / "3")["why"]


def test_a_job_that_may_not_start_again_says_why(jobs, tmp_path, monkeypatch, capsys):
    def refuse(signum, frame):
        raise RuntimeError("Job not requeued because: timed-out too many times.")

    (tmp_path / "3").mkdir()
    monkeypatch.setattr(BaseSubmititLauncher, "__call__", stopped(signal.SIGUSR2))
    monkeypatch.setattr(signal, "getsignal", lambda _: refuse)
    assert jobs([], "", 3, "", {}).return_value is None
    record = read_record(tmp_path / "3")
    assert (record["state"], record["mistake"]) == ("failed", True)
    assert "hydra.launcher.max_num_timeout" in record["error"]
    assert "nothing was saved" in record["error"]
    assert "timeout_min=60" in capsys.readouterr().err


def test_a_job_that_somebody_else_stops_is_left_alone(jobs, monkeypatch):
    monkeypatch.setattr(BaseSubmititLauncher, "__call__", stopped(signal.SIGTERM))
    with pytest.raises(Interrupted):
        jobs([], "", 3, "", {})


def test_jobs_wait_until_they_start_and_those_refused_leave_nothing(jobs, tmp_path, monkeypatch):
    def refuse(*_):
        assert [read_record(tmp_path / name)["state"] for name in "01"] == ["waiting"] * 2
        raise RuntimeError(
            "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed\n"
        )

    monkeypatch.setattr(BaseSubmititLauncher, "launch", refuse)
    with pytest.raises(UserError, match="not submitted: sbatch: error: invalid partition specified: nope"):
        jobs.launch([["seed=0"], ["seed=1"]], 0)
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_a_result_is_one_line(jobs, tmp_path, monkeypatch):
    def lost(*_):
        raise RuntimeError(
            "Job 7_0 (task: 0) with path x.pkl\nhas not produced any output (state: NODE_FAIL)\nError:\n…"
        )

    monkeypatch.setattr(BaseSubmititLauncher, "launch", lost)
    with pytest.raises(UserError, match=r"NODE_FAIL.*src\.report\.sweep") as error:
        jobs.launch([["seed=0"]], 0)
    assert "\n" not in str(error.value)
    assert read_record(tmp_path / "0")["state"] == "waiting"
