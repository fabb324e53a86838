"""Files that are whole or not there."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its target, then rename it.

    A process killed meanwhile leaves no partial file under the target's name.

    Raises:
        OSError: the folder is not writable; what was at ``path`` is unchanged.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """Return the hidden name, with the same suffix, under which this process writes a file before it is whole."""
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
