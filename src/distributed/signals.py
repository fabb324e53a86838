"""Ctrl-C and SIGTERM (a cluster's notice) as a request that the training answers between two steps."""

from __future__ import annotations

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType
from typing import Any

from lightning.fabric.utilities.seed import pl_worker_init_function

from src.utils.failures import LOST_BATCH
from src.utils.launch import global_rank, submitit_notice
from src.utils.private import on_lost_item


class Interrupted(SystemExit):
    """The training was asked to stop and has saved its state.

    It ends the process with the status 128 + the signal's number.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signal = signal.Signals(signum)


class StopRequest:
    """Context manager that notes the first signal in ``signum``, for the training to answer.

    A second Ctrl-C kills the process at once, a second SIGTERM after `PATIENCE`.

    Args:
        at_once: raise `Interrupted` at the first signal, wherever the process is: for work with nothing to save.
    """

    def __init__(self, at_once: bool = False) -> None:
        self.at_once = at_once
        self.signum: int | None = None
        self._before: dict[int, Any] = {}
        self._process = os.getpid()
        self._second: SecondSignal | None = None

    def __enter__(self) -> StopRequest:
        notice = (
            submitit_notice() if global_rank() == 0 else None
        )  # the other processes ignore it (`src.distributed.ranks`)
        answered = [signal.SIGINT, signal.SIGTERM, *([notice] if notice else [])]
        self._before = {signum: signal.getsignal(signum) for signum in answered}
        self.listen()
        self._second = SecondSignal() if _in_main_thread() else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._second is not None:
            self._second.close()
        if _in_main_thread():
            for signum, handler in self._before.items():
                signal.signal(signum, handler)

    def listen(self) -> None:
        """Take over both signals, also from a library that has set its own handler; only the main thread can."""
        if _in_main_thread():
            for signum in self._before:
                signal.signal(signum, self.note)

    def note(self, signum: int, frame: FrameType | None = None) -> None:
        """Handle a signal. Data-loading workers inherit this handler and do nothing: the training answers."""
        if os.getpid() != self._process:
            return
        if self.signum is not None and signum == signal.SIGINT:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(self._process, signum)
        elif self.signum is None:
            self.signum = signum
            if self.at_once:
                raise Interrupted(signum)
            again = (
                "stop at once, without saving" if signum == signal.SIGINT else f"stop in {PATIENCE:g} s, saved or not"
            )
            again = "" if signum == submitit_notice() else f"; again: {again}"
            if global_rank() == 0:
                print(f"\n{cause(signum)}: stopping after this step, the state is saved{again}", file=sys.stderr)


def cause(signum: int) -> str:
    """Return a signal's name, and what it means where that is not the signal's usual meaning."""
    means = (
        " (submitit's notice: the time is nearly up, or another job takes this place)"
        if signum == submitit_notice()
        else ""
    )
    return f"{signal.Signals(signum).name}{means}"


PATIENCE = 8.0
"""Seconds that a second SIGTERM leaves for saving."""


class SecondSignal:
    """Ends the process after a second signal, whatever the main thread is waiting for.

    A handler in Python only runs between two steps of the main thread, which may wait forever inside a library. The
    interpreter's own handler, in C, writes the signal's number into a pipe, from which a thread reads it.
    """

    active: SecondSignal | None = None

    def __init__(self) -> None:
        self._left = threading.Event()
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        SecondSignal.active = self
        threading.Thread(target=self._wait, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._left.set()
        SecondSignal.active = None
        signal.set_wakeup_fd(self._before)
        os.close(self._write)

    def _wait(self) -> None:
        seen = 0
        while not self._left.is_set() and (numbers := os.read(self._read, 64)):
            for signum in numbers:
                seen += signum in (signal.SIGINT, signal.SIGTERM)
                if seen > 1 and not self._left.wait(1.0 if signum == signal.SIGINT else PATIENCE):
                    print(
                        f"{signal.Signals(signum).name} again: stopped at once; ckpt_path=last resumes",
                        file=sys.stderr,
                        flush=True,
                    )
                    os._exit(128 + signum)
        os.close(self._read)


def _forget_pipe() -> None:
    """Detach a forked child from the pipe: a signal that a cluster sends to all processes must not count twice."""
    if SecondSignal.active is not None:
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pipe)


LINGER = 10.0
"""Seconds that a worker leaves for the current step and its checkpoint if it can't know who sent the signal."""


def shield_worker(worker: int) -> None:
    """Make a worker ignore SIGTERM unless its training process sends it; for `worker_init_fn` of DataLoader.

    A cluster sends SIGTERM to every process of a job. Torch's handler would end the worker at once, and the training
    would break off before the step after which it would have saved.
    """
    pl_worker_init_function(worker)  # Lightning's default for `worker_init_fn`
    on_lost_item(_end_worker)
    if hasattr(signal, "sigwaitinfo"):  # Linux
        # Threads that a library starts in every fork (gRPC under TensorBoard) don't block the signal;
        # the sender is then unknown.
        signal.signal(signal.SIGTERM, lambda *_: threading.Timer(LINGER, os._exit, (0,)).start())
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_worker(error: Exception, batch: Any) -> None:
    """End a worker that cannot hand its batch over: the training would wait for it forever."""
    print(f"a process that loads images cannot hand its batch over: {error}", file=sys.stderr, flush=True)
    os._exit(LOST_BATCH)


def _end_with_parent() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
