"""A run's folder belongs to one live process, and files in it that are not a run's are never overwritten.

The lock is `fcntl.lockf` on one file of the folder, which the process opens once. The system frees it when the process
ends, however it ends. Unlike `flock` it is not inherited by data-loading processes, which can outlive a killed training
by seconds. Opening and closing the file a second time would free the lock too: hence the table of held folders. The
lock works between machines if the file system supports locks.
"""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from errno import EACCES, EAGAIN
from pathlib import Path

from src.utils.errors import UserError
from src.utils.launch import global_rank

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
REPORT = (
    "report.html",
    "metrics.csv",
    "metrics.md",
    "metrics.tex",
    "per_image.csv",
    "curves.csv",
    "breakdown.csv",
    "comparisons.csv",
)
"""Files that a test writes into its folder."""
WRITTEN = ("config.yaml", "report.json", *REPORT)
"""Files that a run overwrites without asking: in a folder that no run has made they are somebody else's."""
OF_A_RUN = (LOCK, ".hydra", "multirun.yaml", "checkpoints")
"""Any of these shows that a run has made the folder."""
_held: dict[str, tuple[int, int]] = {}
"""Real path of a held folder → process id and open lock file."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Context manager: hold a run's folder; one that this process holds already stays held afterwards.

    Raises:
        UserError: another process holds it, or it contains somebody else's files.
    """
    existed, marked = folder.exists(), (folder / LOCK).exists()
    new = hold(folder)
    try:
        yield
    except UserError:
        if new and not marked:  # a mistake found before any work leaves nothing behind
            release(folder, remove=True)
            with suppress(OSError):
                if not existed:
                    folder.rmdir()
        raise
    finally:
        if new:
            release(folder)


def hold(folder: Path) -> bool:
    """Hold a run's folder for this process, until it ends or calls `release`.

    Of a training's processes only the first one holds the folder.

    Returns:
        Whether it was taken now; False if this process holds it already or need not hold it.

    Raises:
        UserError: another process holds it, or it contains somebody else's files.
        OSError: the folder cannot be made or written.
    """
    key = os.path.realpath(folder)
    if global_rank() != 0 or _held.get(key, (0, 0))[0] == os.getpid():
        return False
    if files := foreign_files(folder):
        raise UserError(
            f"{folder} is no run's folder and holds {', '.join(files)}, which would be overwritten; "
            "name another paths.output_dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _held[key] = os.getpid(), _locked_file(folder)
    return True


def release(folder: Path, remove: bool = False) -> None:
    """Release a folder; with ``remove``, delete its lock file too."""
    process, file = _held.pop(os.path.realpath(folder), (0, -1))
    if process == os.getpid():
        if remove:
            (folder / LOCK).unlink(missing_ok=True)
        os.close(file)


def foreign_files(folder: Path) -> list[str]:
    """Return the files that a run would overwrite in a folder which no run has made."""
    if any((folder / name).exists() for name in OF_A_RUN):
        return []
    return [name for name in WRITTEN if (folder / name).exists()]


def holds_training(folder: str | Path) -> bool:
    """Return whether a training has left checkpoints in a folder."""
    return any((Path(folder) / "checkpoints").glob("*.ckpt"))


def _locked_file(folder: Path) -> int:
    """Open and lock the folder's file; repeat this if the file was removed in between."""
    while True:
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(file, folder)
        except BaseException:
            os.close(file)
            raise
        if _is_at(file, folder / LOCK):
            holder = f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}"
            with suppress(OSError):  # a full disk: the lock holds without its text
                os.ftruncate(file, 0)
                os.pwrite(file, holder.encode(), 0)
            return file
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Return whether an open file is the one at a path."""
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: int, folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (EACCES, EAGAIN):
            holder = os.pread(file, 200, 0).decode(errors="replace") or "another process"
            raise UserError(
                f"{folder} is in use by {holder}: wait for its end, or name another paths.output_dir"
            ) from error
        warnings.warn(
            f"{folder}: this file system has no locks ({error.strerror}): start nothing else in this folder",
            stacklevel=2,
        )
