"""Check that the batches of the loading processes fit into shared memory.

Where they do not, a training hangs or dies half way.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from src.data.settings import DataSettings
from src.data.sources import Source

PLACE = Path("/dev/shm")
PREFETCHED = 2
"""Batches that each process of a `torch.utils.data.DataLoader` prepares in advance."""
LOOKED_AT = 3
"""Images of each set whose masks are measured."""


def shared_memory_problem(
    settings: DataSettings, trained: Source | None, evaluated: Sequence[Source], processes: int
) -> str | None:
    """Return a message if the batches in flight need more of ``/dev/shm`` than is free; None if they fit.

    Args:
        settings: batch sizes, image size and number of loading processes.
        trained: the training part; None without training.
        evaluated: the sets of validation and test, whose masks keep their own sizes.
        processes: processes of the training on this machine, each with its own loading processes.
    """
    if settings.num_workers == 0 or not PLACE.is_dir():
        return None
    pixels = max(settings.train_sizes) ** 2
    # Float32: three planes and a mask, the pixels that count, and P and p of a prompt.
    planes = 4 + (settings.ignore_value is not None) + 2 * (settings.prompts is not None)
    loaders = [0 if trained is None else min(settings.batch_size, len(trained)) * 4 * planes * pixels]
    for source in evaluated:
        largest = 12 * settings.image_size**2 + _largest_mask(source)
        loaders.append(min(settings.eval_batch_size, len(source)) * largest)
    needed, free = max(loaders) * (PREFETCHED * settings.num_workers + 1) * processes, shutil.disk_usage(PLACE).free
    if needed <= free:
        return None
    return (
        f"data.num_workers={settings.num_workers}: batches on their way take up to {needed / 1e6:.0f} MB "
        f"of shared memory, and {PLACE} has {free / 1e6:.0f} MB free; "
        f"give the container more (docker run --shm-size={-(-needed // 10**9) + 1}g), or take fewer "
        "data.num_workers (0 needs none), or a smaller data.batch_size and data.eval_batch_size"
    )


def _largest_mask(source: Source) -> int:
    """Return the bytes of the largest mask, with its valid pixels, among a few images of a set."""
    count = len(source)
    samples = [
        source[index] for index in sorted({count * place // LOOKED_AT for place in range(LOOKED_AT)} if count else ())
    ]
    return max((sample.mask.size * (1 if sample.valid is None else 2) for sample in samples), default=0)
