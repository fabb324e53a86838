"""Remember which sets passed the checks, so that a training need not read ten thousand headers and masks again."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from src.data.sources import FolderPairs
from src.utils.cache_dir import cache_dir, keep

VERSION = "2"
"""Version of the checks: raise it with every new check, which makes old verdicts invalid."""


@dataclass(frozen=True)
class Verdict:
    """What is worth knowing about a usable set: how its masks are read, and one line per kind of warning."""

    reading: str
    notes: tuple[str, ...] = ()


def fingerprint(pairs: FolderPairs) -> str:
    """Return a digest of the set's files: their names, sizes and times of change; no file is opened.

    The change time (ctime) reveals a file that was replaced by one of the same size and date, as ``cp -p`` does.
    """
    digest = hashlib.sha256(f"{VERSION} {pairs.ignore} {pairs.folders}".encode())
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


def known_verdict(pairs: FolderPairs) -> Verdict | None:
    """Return the verdict on exactly these files if they passed before, else None."""
    try:
        stored = json.loads(_file(pairs).read_text(encoding="utf-8"))
        return Verdict(stored["reading"], tuple(stored["notes"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remember(pairs: FolderPairs, verdict: Verdict) -> None:
    """Store the verdict, if the cache folder can be written."""
    keep(_file(pairs), json.dumps(asdict(verdict)).encode())


def _file(pairs: FolderPairs) -> Path:
    return cache_dir() / "verdicts" / fingerprint(pairs)
