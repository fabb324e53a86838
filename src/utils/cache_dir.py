"""Where this project keeps what can be made again: verdicts about data sets, and decoded images."""

from __future__ import annotations

import getpass
import os
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """`$COS_CACHE`, else `reversible-unfolding` in the user's cache folder; deleting it costs time and nothing else.

    Where that is nowhere, or cannot be written (containers with any uid), the user has a folder among the temporary files.
    """
    chosen = os.environ.get("COS_CACHE")
    if chosen:
        return Path(os.path.expanduser(chosen))
    user_caches = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    return Path(user_caches if _can_be_made(user_caches) else _of_nobody()) / "reversible-unfolding"


def name_nobody() -> None:
    """Give a user whom the system does not know a home and a name, in this process and those that it starts.

    Libraries would make a folder called `~` otherwise, or end where they ask for the name.
    """
    if not os.path.isabs(os.path.expanduser("~")):
        os.environ["HOME"] = _of_nobody()
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):
        os.environ["USER"] = f"uid{_uid()}"


def _can_be_made(folder: str) -> bool:
    """Whether a folder can be written, or the first above it that exists."""
    if not os.path.isabs(folder):
        return False
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return os.access(folder, os.W_OK)


def _of_nobody() -> str:
    return os.path.join(tempfile.gettempdir(), f"cache-{_uid()}")


def _uid() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def write_whole(path: Path, content: bytes) -> bool:
    """Write a small file so that other processes see all of it or nothing; False where the folder cannot be written."""
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
