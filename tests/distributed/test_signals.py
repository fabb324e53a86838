"""The first signal is a request, the second Ctrl-C is not."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest
from torch.utils.data import DataLoader

from src.distributed.signals import Interrupted, StopRequest, shield_worker
from tests.fixtures.warm_python import run

TWICE = """
import os, signal, time
from src.distributed.signals import StopRequest
with StopRequest() as request:
    os.kill(os.getpid(), signal.SIGINT)
    print("still here", request.signum, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("never printed", flush=True)
"""


def test_the_first_signal_is_noted_and_the_handlers_come_back(capsys):
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert request.signum == signal.SIGTERM
    assert signal.getsignal(signal.SIGINT) == before
    assert capsys.readouterr().err.count("SIGTERM: stopping after this step") == 1
    assert Interrupted(signal.SIGTERM).code == 143


@pytest.mark.slow
def test_a_second_ctrl_c_kills():
    result = run("-c", TWICE)
    assert result.returncode == -signal.SIGINT
    assert result.stdout == "still here 2\n"
    assert "again: stop at once" in result.stderr


def test_a_clusters_sigterm_does_not_end_the_data_loading_workers():
    """SLURM signals every process of a job; the worker's parent can still end it."""
    batches = iter(DataLoader(range(64), batch_size=1, num_workers=1, worker_init_fn=shield_worker))  # type: ignore[arg-type]
    assert next(batches) == 0
    (worker,) = batches._workers  # type: ignore[attr-defined]
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)
    assert [int(batch) for batch in batches] == list(range(1, 64))
    batches = iter(DataLoader(range(64), batch_size=1, num_workers=1, worker_init_fn=shield_worker))  # type: ignore[arg-type]
    next(batches)
    (worker,) = batches._workers  # type: ignore[attr-defined]
    worker.terminate()
    worker.join(timeout=20)
    assert worker.exitcode == 0
