"""The first signal is a request, the second Ctrl-C is not."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
from typing import Any

import pytest
from torch.utils.data import DataLoader

from src.distributed.signals import Interrupted, StopRequest, shield_worker
from src.utils.failures import explained
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


def test_a_notice_of_submitit_is_a_request_like_sigterm(monkeypatch, capsys):
    """SIGUSR2 is handled in submitit's jobs only; elsewhere it is left to the user."""
    before = signal.getsignal(signal.SIGUSR2)
    with StopRequest():
        assert signal.getsignal(signal.SIGUSR2) == before
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert request.signum == signal.SIGUSR2
    assert signal.getsignal(signal.SIGUSR2) == before
    told = capsys.readouterr().err
    assert "time is nearly up" in told
    assert "memory" not in told


@pytest.mark.slow
def test_a_second_ctrl_c_kills():
    result = run("-c", TWICE)
    assert result.returncode == -signal.SIGINT
    assert result.stdout == "still here 2\n"
    assert "again: stop at once" in result.stderr


DEAF = """
import ctypes, os, signal, sys, threading
from src.distributed import signals
signals.PATIENCE = 0.3
for seconds in (0.1, 0.4):
    threading.Timer(seconds, os.kill, (os.getpid(), getattr(signal, sys.argv[1]))).start()
threading.Timer(20, os._exit, (99,)).start()
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(128)
with signals.StopRequest():
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)  # never returns, and no handler in Python runs
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_second_signal_ends_a_process_that_waits_inside_a_library(name, status):
    result = run("-c", DEAF, name)
    assert result.returncode == status
    assert f"{name} again: stopped at once" in result.stderr


@pytest.mark.slow
def test_a_signal_to_the_children_is_not_a_second_one():
    with StopRequest() as request:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, lambda *_: None)
            os.kill(os.getpid(), signal.SIGTERM)
            os._exit(0)
        os.waitpid(child, 0)
        assert request._second is not None
        os.set_blocking(request._second._read, False)
        with contextlib.suppress(BlockingIOError):  # the child's end sends a signal too, if a handler is set
            assert signal.SIGTERM not in os.read(request._second._read, 64)


class Unsendable:
    """Raises what full shared memory causes: the queue's own thread cannot pickle a batch."""

    def __reduce__(self) -> str:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


@explained("data.batch_size=1")
def not_handed_over() -> None:
    loader: Any = DataLoader([Unsendable()] * 4, num_workers=1, worker_init_fn=shield_worker, collate_fn=list)  # type: ignore[arg-type]
    next(iter(loader))


@explained("data.batch_size=1")
def killed_while_it_loads() -> None:
    loader: Any = DataLoader(range(999), num_workers=1, worker_init_fn=shield_worker)  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    os.kill(batches._workers[0].pid, signal.SIGKILL)
    list(batches)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (
            "killed_while_it_loads",
            r"a process that loads images has died with data\.batch_size=1: .*killed by signal: Killed",
        ),
        ("not_handed_over", r"No space left on device[\s\S]*\(/dev/shm\) is full with data\.batch_size=1.*num_workers"),
    ],
)
def test_a_loader_that_ends_is_explained(function, words):
    """In a process of its own, as torch reports the dead loader wherever its parent happens to be."""
    told = run("-c", f"from tests.distributed.test_signals import {function} as fail; fail()").stderr
    assert re.search(words, told)


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
