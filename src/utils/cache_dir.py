"""The cache folder, for what can be made again: results of data checks, and decoded images."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path

from src.utils.whole_file import write_whole


def cache_dir() -> Path:
    """Return `$COS_CACHE`, else `reversible-unfolding` in the user's cache folder; deleting it only costs time.

    Without a home (a user id that the system does not know, and no `$HOME`) it is a place where nothing can be stored.
    """
    chosen = os.environ.get("COS_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "reversible-unfolding"
    except RuntimeError:
        return Path(os.devnull) / "reversible-unfolding"


def name_nobody() -> None:
    """Give a user whom the system does not know a home and a name, for this process and those that it starts.

    Libraries would otherwise make a folder called `~`, or fail when they ask for the name.
    """
    uid = os.getuid() if hasattr(os, "getuid") else 0
    if not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = os.path.join(tempfile.gettempdir(), f"home-{uid}")
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"uid{uid}"


def keep(path: Path, content: bytes) -> bool:
    """Write a small file, whole or not at all; return False if the folder cannot be written."""
    try:
        write_whole(path, content)
        os.chmod(path, 0o644)  # a cache may be shared
    except OSError:
        return False
    return True
