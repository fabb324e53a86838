"""The version of this project that made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNKNOWN = "unknown"
FORMAT = 2
"""Version of the configuration in checkpoints and exported weights, stored as its ``format``.

1 (which stores no ``format``): one RUN with 31 settings. 2: RUN composed of its parts. `src.checkpoints.upgrade` reads
all of them.
"""
HERE = Path(__file__).resolve().parent


def revision() -> str:
    """Return the commit of this checkout, 7 digits, with `+` if `src` or `conf` differ; `unknown` without Git."""
    commit, changes = _git("rev-parse", "--short=7", "HEAD"), _git("status", "--porcelain", "--", ":/src", ":/conf")
    if commit is None or changes is None:
        return UNKNOWN
    return commit + "+" * bool(changes)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(HERE), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
