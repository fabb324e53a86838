"""Remembering which folders passed the cheap checks, so that a training does not read ten thousand headers again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from src.data.sources import FolderPairs
from src.utils.cache_dir import cache_dir, write_whole

VERSION = "1"
"""Of the checks: a new check makes old verdicts worthless."""


def fingerprint(pairs: FolderPairs) -> str:
    """A digest of the set's files: their names, sizes and times of change. Files are not opened.

    The time of change of the entry (ctime) tells a file that was exchanged for one of the same size and date, as `cp -p` does.
    """
    digest = hashlib.sha256(f"{VERSION} {pairs.folders}".encode())
    for files in (pairs.images, pairs.masks, pairs.valid):
        for name in sorted(files):
            for path in files[name]:
                digest.update(os.fsencode(path.name) + f"\0{_state(path)}\n".encode())
        digest.update(b"\f")
    return digest.hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)
    except OSError:  # a link to nowhere, which the checks report
        return ()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def known_usable(pairs: FolderPairs) -> bool:
    """Whether these very files have passed before."""
    return _file(pairs).is_file()


def remember_usable(pairs: FolderPairs) -> None:
    """Keep the verdict, where the cache folder can be written."""
    write_whole(_file(pairs), f"{pairs.folders.images}\n".encode())


def _file(pairs: FolderPairs) -> Path:
    return cache_dir() / "verdicts" / fingerprint(pairs)
