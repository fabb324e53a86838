"""Import a library without optional packages that it would load but does not need."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hidden(*packages: str) -> Iterator[None]:
    """Let imports inside the block find none of ``packages``, except those that are already loaded.

    After the block all of them can be imported.
    """
    absent = [name for name in packages if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None means: there is no such module
    try:
        yield
    finally:
        for name in absent:
            sys.modules.pop(name, None)
