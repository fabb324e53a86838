"""Explain errors of a machine that is too small, and say what to change."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from src.utils.errors import UserError

OUT_OF_MEMORY = (
    "out of memory",
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "could not create a memory",
)
SHARED_MEMORY = ("shared memory(shm)", "out of shared memory", "insufficient shared memory", "bus error")
LIBRARY = ("shared object", "failed to map segment")
"""Messages on a library that does not fit into the address space."""
DEAD_LOADER = "DataLoader worker"
LOST_BATCH = 74
"""Exit status of a loading process that could not hand over a batch."""


@contextmanager
def explained(sizes: str) -> Iterator[None]:
    """Context manager: turn full memory and dead loading processes into a UserError; other errors are left alone.

    Args:
        sizes: the settings that memory depends on, with their values: ``data.batch_size=36, data.image_size=352``.

    Raises:
        UserError: what happened, and which of the settings to lower.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError, EOFError) as error:
        try:
            text = None if isinstance(error, UserError) else explanation(error, sizes)
        except RuntimeError as told:  # by torch's handler of SIGCHLD, which raises wherever this process is
            text = explanation(told, sizes)
        if text is None:
            raise
        raise UserError(text) from error


def explanation(error: BaseException, sizes: str = "") -> str | None:
    """Return what happened and the way out; None for an error of another kind.

    Args:
        error: the error.
        sizes: as in `explained`; empty if not known.
    """
    said = _said(error)
    cause = said.splitlines()[-1].removeprefix("RuntimeError: ").strip()[:200] if said else type(error).__name__
    at, lower = (f" with {sizes}", "lower one of these") if sizes else ("", "use smaller pictures or batches")
    if any(word in said.lower() for word in (*SHARED_MEMORY, f"exit code {LOST_BATCH}.")):
        way_out = "fewer data.num_workers (0 needs none), or docker run --shm-size=2g"
        return f"shared memory (/dev/shm) is full{at}: {cause}; {way_out}"
    if DEAD_LOADER in said or _was_handed_a_batch(error):
        cause = cause if DEAD_LOADER in said else _told_by_torch() or cause
        way_out = f"where memory was full, {lower} or data.num_workers; ckpt_path=last resumes"
        return f"a process that loads images has died{at}: {cause}; {way_out}"
    limit = _address_space()
    unloaded = limit and isinstance(error, (OSError, ImportError)) and any(word in said for word in LIBRARY)
    if limit:
        cause += f" (ulimit -v allows this process {limit / 1e9:.1f} GB; the libraries alone map 4 to 5)"
    if unloaded or isinstance(error, MemoryError) or any(word in said.lower() for word in OUT_OF_MEMORY):
        same = (
            " (with effective_batch=… a smaller data.batch_size learns the same)" if "data.batch_size" in sizes else ""
        )
        return f"memory is full{at}: {cause}; {lower}{same}"
    return None


def _was_handed_a_batch(error: BaseException) -> bool:
    """Return whether an error is that of a connection to a loading process that has ended."""
    files = [frame.f_code.co_filename.replace("\\", "/") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return all(any(part in file for file in files) for part in ("torch/utils/data/", "multiprocessing/connection"))


def _told_by_torch() -> str:
    """Return how a loading process died; empty if that is unknown.

    Torch's handler of SIGCHLD raises that wherever this process is, possibly a moment later.
    """
    try:
        time.sleep(1)
    except RuntimeError as told:
        return str(told).strip()
    return ""


def _address_space() -> int:
    """Return the bytes of memory that this process may map; 0 without a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def _said(error: BaseException) -> str:
    """Return the messages of an error and of its causes, in which torch says how a process died."""
    words = list[str]()
    one: BaseException | None = error
    while one is not None:
        words.append(str(one).strip())
        one = one.__cause__
    return "\n".join(filter(None, words))
