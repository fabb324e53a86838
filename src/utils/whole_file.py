"""Files that are whole or not there."""

from __future__ import annotations

import os
import secrets
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
    """Return a new hidden name, with the same suffix, under which a file is written before it is whole.

    The process's number would not do: containers that share a folder have the same.
    """
    return path.with_name(f".{path.stem}.{secrets.token_hex(6)}.tmp{path.suffix}")
