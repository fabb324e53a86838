"""Remembering which folders passed the cheap checks, so that a training does not read ten thousand headers again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from src.data.cachedir import cache_dir, write_whole
from src.data.sources import FolderPairs

VERSION = "1"
"""Of the checks: a new check makes old verdicts worthless."""


def fingerprint(pairs: FolderPairs) -> str:
    """A digest of the set's files: their paths, sizes and times of change. Files are not opened."""
    digest = hashlib.sha256(f"{VERSION} {pairs.folders}".encode())
    for files in (pairs.images, pairs.masks, pairs.valid):
        for name in sorted(files):
            for path in files[name]:
                status = os.stat(path)
                digest.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
        digest.update(b"\f")
    return digest.hexdigest()


def known_usable(pairs: FolderPairs) -> bool:
    """Whether these very files have passed before."""
    return _file(pairs).is_file()


def remember_usable(pairs: FolderPairs) -> None:
    """Keep the verdict, where the cache folder can be written."""
    write_whole(_file(pairs), f"{pairs.folders.images}\n".encode())


def _file(pairs: FolderPairs) -> Path:
    return cache_dir() / "verdicts" / fingerprint(pairs)
