"""Ctrl-C and SIGTERM (a cluster's notice) as a request that the training answers between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function

from src.utils.launch import global_rank


class Interrupted(SystemExit):
    """The training was asked to stop and has saved its state; as a process's end the status is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signal = signal.Signals(signum)


class StopRequest:
    """A context in which the first signal is noted in ``signum``; a second Ctrl-C kills at once.

    ``at_once``: there is nothing to save, the first signal raises `Interrupted` where it meets the process.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.signum: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()

    def __enter__(self) -> StopRequest:
        self._before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        if _in_main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def listen(self) -> None:
        """Take both signals over, also from a library that has done so since; only a main thread can."""
        if _in_main_thread():
            for signum in self._before:
                signal.signal(signum, self.note)

    def note(self, signum: int, frame: FrameType | None = None) -> None:
        """The handler; data-loading workers inherit it, and leave the answer to the training."""
        if os.getpid() != self._process:
            return
        if self.signum is not None and signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(self._process, signum)
        elif self.signum is None:
            self.signum = signum
            if self.at_once:
                raise Interrupted(signum)
            again = "; again: stop at once, without saving" if signum == signal.SIGINT else ""
            if global_rank() == 0:
                print(f"\n{signal.Signals(signum).name}: stopping after this step, the state is saved{again}", file=sys.stderr)


LINGER = 10.0
"""Seconds for the step that still runs and its checkpoint, where a worker can't know whether its parent wants it to end."""


def shield_worker(worker: int) -> None:
    """For DataLoader's `worker_init_fn`: only its own process ends a worker, not a SIGTERM that a cluster sends to every process of a job.

    Torch's handler ends it at once, and the training then breaks off before the step after which it would have saved.
    """
    pl_worker_init_function(worker)  # what Lightning sets where nothing is
    if hasattr(signal, "sigwaitinfo"):  # Linux
        # Threads that a library starts in every fork (gRPC under TensorBoard) don't block the signal; who sent it can't be told then.
        signal.signal(signal.SIGTERM, lambda *_: threading.Timer(LINGER, os._exit, (0,)).start())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
