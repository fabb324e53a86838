"""A run's folder belongs to one live process, and nothing of anybody else's in it is overwritten.

The lock is `fcntl.lockf` on one file of the folder, which the process opens once. The system frees it with the process,
however that ends; unlike `flock` it is not inherited by the processes that load data, which can outlive a killed
training by seconds. (A file that is opened and closed a second time frees it too: hence the table of what is held.) It
holds between machines where the file system has locks.
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
"""What a test leaves in its folder."""
WRITTEN = ("config.yaml", *REPORT)
"""What a run writes over without a look: in a folder that is no run's these files are somebody else's."""
OF_A_RUN = (LOCK, ".hydra", "checkpoints")
_held: dict[str, tuple[int, int]] = {}
"""Real path of a folder → process and open file."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Context manager: hold a run's folder; one that this process holds already stays held afterwards.

    Raises:
        UserError: another process holds it, or it holds files of somebody else.
    """
    new = hold(folder)
    try:
        yield
    finally:
        if new:
            release(folder)


def hold(folder: Path) -> bool:
    """Take a run's folder for this process, until it ends or calls `release`; only the first of a training's processes does.

    Returns:
        Whether it was taken here; False where this process has it already, or needs none.

    Raises:
        UserError: another process holds it, or it holds files of somebody else.
        OSError: the folder cannot be made or written.
    """
    key = os.path.realpath(folder)
    if global_rank() != 0 or _held.get(key, (0, 0))[0] == os.getpid():
        return False
    if files := foreign_files(folder):
        raise UserError(
            f"{folder} is no run's folder and holds {', '.join(files)}, which would be overwritten; name another paths.output_dir"
        )
    folder.mkdir(parents=True, exist_ok=True)
    _held[key] = os.getpid(), _locked_file(folder)
    return True


def release(folder: Path, remove: bool = False) -> None:
    """Let go of a folder; with ``remove`` its lock file goes too."""
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
    """Whether a training has left checkpoints there."""
    return any((Path(folder) / "checkpoints").glob("*.ckpt"))


def _locked_file(folder: Path) -> int:
    """Open and lock the folder's file; again where it was removed between the two."""
    while True:
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        try:
            _lock(file, folder)
        except BaseException:
            os.close(file)
            raise
        with suppress(OSError):
            if os.fstat(file).st_ino == (folder / LOCK).stat().st_ino:
                os.ftruncate(file, 0)
                os.pwrite(
                    file,
                    f"process {os.getpid()} on {socket.gethostname()}, since {datetime.now():%Y-%m-%d %H:%M:%S}".encode(),
                    0,
                )
                return file
        os.close(file)


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
