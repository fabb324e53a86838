"""How Numba functions are compiled: on first use, without the interpreter's lock, and cached on disk if possible."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from src.utils.private import drop_compiled, wrap_saving

log = logging.getLogger(__name__)


def compiled(*files: str | Path, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator like `njit(nogil=True, error_model="numpy", cache=True, **options)`.

    The compiled code is stored beside the source, or in the user's Numba cache. If neither can be written, or the disk
    is full, each process compiles again, which is only logged at debug level.

    Args:
        files: other source files that the function uses. Numba only watches the function's own file; compiled code
            older than one of these is deleted.
        **options: of `numba.njit`.
    """
    njit: Any = numba.njit
    options = {"nogil": True, "error_model": "numpy"} | options

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            made = njit(cache=True, **options)(function)
        except RuntimeError as error:
            log.debug("%s is compiled again in each process: %s", function.__name__, error)
            return njit(**options)(function)
        _drop_stale(made, files)
        _survive_full_disk(made, function.__name__)
        return made

    return decorate


def _drop_stale(made: Any, files: tuple[str | Path, ...]) -> None:
    code = made.py_func.__code__
    index = f"{Path(code.co_filename).stem}.{code.co_name}-{code.co_firstlineno}.*.nbi"
    newest = max((Path(file).stat().st_mtime for file in files), default=0.0)
    if any(path.stat().st_mtime < newest for path in Path(made.stats.cache_path).glob(index)):
        drop_compiled(made)


def _survive_full_disk(made: Any, name: str) -> None:
    def surviving(save: Callable[..., None]) -> Callable[..., None]:
        def save_or_say(*arguments: Any) -> None:
            try:
                save(*arguments)
            except OSError as error:
                log.debug("the compiled %s could not be kept: %s", name, error)

        return save_or_say

    wrap_saving(made, surviving)
