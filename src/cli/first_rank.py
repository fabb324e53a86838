"""Under srun and torchrun every process meets a mistake, or the consequence of another one's: it is reported once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from src.utils.errors import UserError, chain, user_error
from src.utils.launch import global_rank, is_on_first_machine, launched

PATIENCE = 10.0
"""Seconds that a process gives rank 0, whose end then ends it too (torchrun; srun with --kill-on-bad-exit=1)."""
MARK = "met_in_training"
GONE = ("closed by peer", "reset by peer", "remote process exited")


@contextmanager
def of_training() -> Iterator[None]:
    """Context manager: mark errors of this block as met in the training, where processes see different images.

    Raises:
        UserError: another process is gone, which gloo and NCCL report as a connection that was closed.
    """
    try:
        yield
    except Exception as error:
        setattr(error, MARK, True)
        if any(words in str(error).lower() for words in GONE):
            text = "another process of this training has failed (see its message) or was killed; ckpt_path=last resumes"
            raise UserError(text) from error
        raise


def must_report(error: BaseException) -> bool:
    """Return whether this process has to report an error, after the time in which another one may have done so.

    Rank 0 reports user errors, and everything from before the training, at once. What else it meets in the training can
    be the consequence of what another process reports. The others report what rank 0 cannot see.
    """
    launch = launched()
    if launch is None or launch.processes == 1:
        return True
    trained = any(getattr(one, MARK, False) for one in chain(error))
    if global_rank() == 0:
        if trained and user_error(error) is None:
            time.sleep(PATIENCE)
        return True
    wait_for_first()
    return trained or not is_on_first_machine()


def wait_for_first() -> None:
    """Give the first process the time to say what is wrong: the end of this one would end it too."""
    if global_rank() != 0:
        time.sleep(PATIENCE)


def speaker() -> str:
    """Return which process speaks, for its message: nothing if it is the first."""
    rank = global_rank()
    return f" (rank {rank}, on {socket.gethostname()})" if rank else ""
