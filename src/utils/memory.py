"""This process's memory: keep what is freed (a CPU training step spends a quarter of its time on page faults otherwise); its peak."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8  # of <malloc.h>
LARGE = 4 << 20
"""Bytes from which a block of a shared heap is mapped by itself."""


def keep_freed_memory() -> bool:
    """Tell glibc to serve large blocks from its heap and never to give the heap back.

    By default every large tensor is mapped anew from the kernel and its pages are cleared one by one. Returns whether
    the C library took the settings; elsewhere (macOS, musl) nothing happens.
    """
    libc = _glibc()
    return libc is not None and bool(libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, -1))


def share_heap() -> bool:
    """Tell glibc to serve all threads from one heap, before they start: what one has freed another can use.

    Each thread otherwise has a heap of its own, and each keeps the largest picture that it has met. Pictures and large
    maps are mapped by themselves, so that they leave no holes in the heap: this takes the place of
    :func:`keep_freed_memory`. Returns whether the C library took it.
    """
    libc = _glibc()
    settings = ((M_ARENA_MAX, 1), (M_MMAP_MAX, 65536), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, 4 * LARGE))
    return libc is not None and all(libc.mallopt(*setting) for setting in settings)


def release_freed() -> bool:
    """Give freed memory back to the system, such as what importing and loading have left. Returns whether there was any."""
    libc = _glibc()
    return libc is not None and bool(libc.malloc_trim(0))


def _glibc() -> Any:
    """Return the C library; None where it is not glibc."""
    try:
        return ctypes.CDLL("libc.so.6") if sys.platform.startswith("linux") else None
    except OSError:
        return None


def reset_peak() -> bool:
    """Forget the peak of this process's resident memory; False where the system can't (then :func:`peak_gib` is that of its whole life)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_gib() -> float:
    """The largest resident memory of this process since :func:`reset_peak`, in GiB; libraries and weights are part of it."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 2**20
    except (OSError, IndexError):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)
