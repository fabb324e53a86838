"""An input is never a target: the one rule of every command that writes files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Protected:
    """Files that must not be written, under any of their names: links, hard links, ``..``, another letter case."""

    def __init__(self, files: Iterable[Path]) -> None:
        files = list(files)
        self._names = {_folded(file) for file in files}
        self._identities = {identity for file in files if (identity := _identity(file)) is not None}

    def holds(self, path: Path) -> bool:
        """Return whether a file written at this path would replace one of them."""
        return _folded(path) in self._names or _identity(path) in self._identities


def new_file_problem(key: str, path: Path, inputs: Iterable[Path], overwrite: bool) -> str | None:
    """Return why the setting ``key`` cannot name the file that a command writes; None if it can.

    Args:
        key: the setting, for the message.
        path: the file.
        inputs: what the command reads.
        overwrite: whether another existing file may be replaced.
    """
    if Protected(inputs).holds(path):
        return f"{key}={path} is an input of this command; name another file"
    if path.is_dir():
        return f"{key}={path} is a folder; name a file"
    return f"{key}={path} exists; name another file, or overwrite=true" if path.exists() and not overwrite else None


def _folded(path: Path) -> str:
    return os.path.realpath(path).casefold()


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
