"""Which samples a process sees: training orders that depend on (seed, epoch) alone, and evaluation that repeats nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, DistributedSampler


class SeededIndex(NamedTuple):
    """Which sample, the seed of its augmentation (a function of (seed, epoch, sample)), and the side its batch is trained at in pixels."""

    sample: int
    seed: int
    size: int | None = None


class EpochSampler(DistributedSampler):
    """Shuffles differently in every epoch and yields :class:`SeededIndex`.

    The epoch travels with the index because persistent workers hold a copy of the data set that nobody can tell it.
    Each rank draws every n-th sample, so that the i-th batches of n ranks are together the i-th batch of one process
    that takes n times as many.

    Args:
        epoch, batch: the first epoch, and how many of its batches to leave out: a resumed training starts in the
            middle.
        sizes: sides to train at; each batch of `batch_size` draws one, the same on every rank.
        drop_last: where the count does not divide by the ranks, leave a few samples out of the epoch (else draw a few
            twice).
    """

    def __init__(
        self,
        dataset: Dataset,
        seed: int,
        epoch: int = 0,
        sizes: Sequence[int] = (),
        batch_size: int = 1,
        batch: int = 0,
        drop_last: bool = False,
    ) -> None:
        ranks, rank = _place()
        super().__init__(dataset, num_replicas=ranks, rank=rank, shuffle=True, seed=seed % 2**32, drop_last=drop_last)
        self.sizes, self.batch_size = tuple(sizes), batch_size
        self.epoch, self.first_batch = epoch, batch

    def set_epoch(self, epoch: int) -> None:
        """Another epoch starts with its first batch."""
        if epoch != self.epoch:
            self.epoch, self.first_batch = epoch, 0

    def __iter__(self) -> Iterator[SeededIndex]:
        for position, index in islice(enumerate(super().__iter__()), self.first_batch * self.batch_size, None):
            seed = int(np.random.SeedSequence([self.seed, self.epoch, index]).generate_state(1)[0])
            yield SeededIndex(index, seed, self._size(position // self.batch_size))

    def _size(self, batch: int) -> int | None:
        if len(self.sizes) < 2:
            return self.sizes[0] if self.sizes else None
        return int(np.random.default_rng([self.seed, self.epoch, batch, 1]).choice(self.sizes))


class EvalSampler(DistributedSampler):
    """Every sample once in all processes together, in order, whatever their number.

    PyTorch's own pads the ranks to one length with repeated samples, which then count twice in every mean.
    """

    def __init__(self, dataset: Dataset) -> None:
        ranks, rank = _place()
        super().__init__(dataset, num_replicas=ranks, rank=rank, shuffle=False)
        self.indices = range(rank, len(dataset), ranks)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def _place() -> tuple[int, int]:
    return (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
