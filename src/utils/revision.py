"""Which state of this project made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNKNOWN = "unknown"
FORMAT = 2
"""Version of the configuration that checkpoints and exported weights hold, stored as ``format`` in it; files of 1 do not say so.

1: one RUN with 31 settings. 2: RUN composed of its parts. `src.checkpoints.upgrade` reads all of them.
"""
HERE = Path(__file__).resolve().parent


def revision() -> str:
    """The commit of this checkout, 7 digits, with a `+` where `src` or `conf` differ from it; `unknown` outside a Git checkout."""
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
