"""Which state of this project made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

UNKNOWN = "unknown"
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
