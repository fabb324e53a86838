"""The cache folder, for what can be made again: results of data checks, and decoded images."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """`$COS_CACHE`, else `reversible-unfolding` in the user's cache folder; deleting it costs time and nothing else.

    Without a home (a user id that the system does not know, and no `$HOME`) it is a place where nothing can be kept.
    """
    chosen = os.environ.get("COS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "reversible-unfolding"
    except RuntimeError:
        return Path(os.devnull) / "reversible-unfolding"


def write_whole(path: Path, content: bytes) -> bool:
    """Write a small file so that other processes see all of it or nothing; False if the folder cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(content)
                file.flush()
            except OSError:
                os.unlink(file.name)
                raise
        os.chmod(file.name, 0o644)  # a cache may be shared; temporary files are private
        os.replace(file.name, path)
    except OSError:
        return False
    return True
