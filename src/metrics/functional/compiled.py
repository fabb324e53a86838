"""How the loops over pixels are compiled: on first use only, once, and cached on disk.

Serial and without the GIL, so that maps can be scored in several threads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from numba import njit

log = logging.getLogger(__name__)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Cached beside the file, or where Numba caches for the user; where neither can be written, compiled in each process."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        log.debug("%s is compiled anew in each process: %s", function.__name__, error)
        return njit(**options)(function)


inlined = njit(inline="always")
"""For helpers: part of their caller, whose options and cache they share; they live in their caller's file."""
