"""Report a mistake once under srun and torchrun, where every process meets it or its consequences."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from src.utils.errors import UserError, chain
from src.utils.launch import global_rank, is_on_first_machine, launched

PATIENCE = 10.0
"""Seconds that a process waits for rank 0, whose end then ends it too (torchrun; srun with --kill-on-bad-exit=1)."""
MARK = "met_in_training"
GONE = ("closed by peer", "reset by peer", "remote process exited")

_asked_to_end = threading.Event()


class LostProcessError(UserError):
    """Another process of the training is gone; that process reports the cause."""


@contextmanager
def of_training() -> Iterator[None]:
    """Context manager: mark errors of this block as met in the training, where processes see different images.

    Raises:
        LostProcessError: in place of gloo's or NCCL's error about a closed connection.
    """
    try:
        yield
    except Exception as error:
        setattr(error, MARK, True)
        if any(words in str(error).lower() for words in GONE):
            text = "another process of this training has failed (see its message) or was killed; ckpt_path=last resumes"
            raise LostProcessError(text) from error
        raise


def must_report(error: BaseException) -> bool:
    """Return whether this process must report an error, after giving another one the time to do so.

    Before the training, rank 0 reports at once, and processes on other machines what it cannot see. During it, each
    process reports its own errors at once, and rank 0 that another one is gone.
    """
    launch = launched()
    if launch is None or launch.processes == 1:
        return True
    # The launcher may be ending this process because another one has failed: its status must stay that of
    # an error, not become 143, that of a training that was asked to stop and has saved.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: _asked_to_end.set())
    causes = list(chain(error))
    if any(isinstance(one, LostProcessError) for one in causes):
        time.sleep(PATIENCE)
        return global_rank() == 0
    if global_rank() == 0 or any(getattr(one, MARK, False) for one in causes):
        return True
    return not wait_for_first() and not is_on_first_machine()


def wait_for_first() -> bool:
    """Give the first process time to say what is wrong, because the end of this one would end it too.

    Returns:
        Whether the launcher asked this process to end: another one has then failed and said why.
    """
    return global_rank() != 0 and _asked_to_end.wait(PATIENCE)


def speaker() -> str:
    """Return which process this is, for its messages; empty for the first."""
    rank = global_rank()
    return f" (rank {rank}, on {socket.gethostname()})" if rank else ""
