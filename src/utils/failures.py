"""What a machine that is too small does to a run, in words that say what to change."""

from __future__ import annotations

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
DEAD_LOADER = "DataLoader worker"
LOST_BATCH = 74
"""Exit status of a loading process that could not hand over a batch."""


@contextmanager
def explained(sizes: str) -> Iterator[None]:
    """Turn memory that is full and loading processes that died, in this block, into a UserError; any other error stays what it is.

    Args:
        sizes: the settings that memory depends on, as they are: ``data.batch_size=36, data.image_size=352``.

    Raises:
        UserError: what happened, and which of the settings to lower.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:
        text = None if isinstance(error, UserError) else explanation(error, sizes)
        if text is None:
            raise
        raise UserError(text) from error


def explanation(error: BaseException, sizes: str = "") -> str | None:
    """Return what has happened and the way out; None for an error of another kind."""
    said = _said(error)
    cause = said.splitlines()[-1].removeprefix("RuntimeError: ").strip()[:200] if said else type(error).__name__
    at, lower = (f" with {sizes}", "lower one of these") if sizes else ("", "use smaller pictures or batches")
    if any(word in said.lower() for word in (*SHARED_MEMORY, f"exit code {LOST_BATCH}.")):
        way_out = "fewer data.num_workers (0 needs none), or docker run --shm-size=2g"
        return f"shared memory (/dev/shm) is full{at}: {cause}; {way_out}"
    if DEAD_LOADER in said:
        way_out = f"where memory was full, {lower} or data.num_workers; ckpt_path=last resumes"
        return f"a process that loads images has died{at}: {cause}; {way_out}"
    if isinstance(error, MemoryError) or any(word in said.lower() for word in OUT_OF_MEMORY):
        same = (
            " (with effective_batch=… a smaller data.batch_size learns the same)" if "data.batch_size" in sizes else ""
        )
        return f"memory is full{at}: {cause}; {lower}{same}"
    return None


def _said(error: BaseException) -> str:
    """Return the words of an error and of its causes: of a process that died, torch says there how."""
    words = list[str]()
    one: BaseException | None = error
    while one is not None:
        words.append(str(one).strip())
        one = one.__cause__
    return "\n".join(filter(None, words))
