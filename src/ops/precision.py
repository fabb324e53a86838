"""Precision under autocast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which matrix products and convolutions keep their inputs' precision."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()


@contextmanager
def without_autocast_cache() -> Iterator[None]:
    """Keep no cast weights in the block.

    The autocast of older torch (pytorch#112583, mended at the end of 2025) hands weights that it has cast without
    gradients to a later pass with gradients, which then does not train them.
    """
    before = torch.is_autocast_cache_enabled()
    torch.set_autocast_cache_enabled(False)
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)
