"""The training order: a function of (seed, epoch) alone, whatever the number of workers, and a seed for every sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, DistributedSampler


class SeededIndex(NamedTuple):
    """Which sample, and the seed of its augmentation, a function of (seed, epoch, index)."""

    sample: int
    seed: int


class EpochSampler(DistributedSampler):
    """Shuffles anew every epoch and yields :class:`SeededIndex`.

    The epoch travels with the index because persistent workers hold a copy of the data set that nobody can tell it.
    Each rank draws its own part (a few samples twice where the count does not divide).

    Args:
        epoch: the first epoch; a resumed training starts in the middle.
    """

    def __init__(self, dataset: Dataset, seed: int, epoch: int = 0) -> None:
        ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
        super().__init__(dataset, num_replicas=ranks, rank=rank, shuffle=True, seed=seed % 2**32)
        self.set_epoch(epoch)

    def __iter__(self) -> Iterator[SeededIndex]:
        for index in super().__iter__():
            yield SeededIndex(index, int(np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0]))
