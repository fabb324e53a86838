"""Samplers: training orders that depend on (seed, epoch) alone, and evaluation that repeats no sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch.distributed as dist
from torch.utils.data import Dataset, DistributedSampler


class SeededIndex(NamedTuple):
    """Index of a sample, seed of its augmentation, and side in pixels that its batch is trained at.

    The seed is a function of (seed, epoch, sample).
    """

    sample: int
    seed: int
    size: int | None = None


class EpochSampler(DistributedSampler):
    """Shuffles differently in every epoch and yields :class:`SeededIndex`.

    The index carries what depends on the epoch, because persistent workers hold copies of the data set that cannot be
    told the epoch. Each rank draws every n-th sample, so that the i-th batches of n ranks together equal the i-th batch
    of one process with n times the batch size.

    Args:
        dataset: the samples.
        seed: of the order and of all augmentations.
        epoch: the first epoch.
        sizes: sides to train at, in pixels; each batch of `batch_size` draws one, the same on every rank.
        batch_size: samples per batch.
        batch: batches of the first epoch to skip: a resumed training starts in the middle.
        drop_last: if the ranks do not divide the number of samples, leave a few out of the epoch (else draw a few
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
        """Set the epoch; a new one starts with its first batch."""
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
    """Yields every sample exactly once over all processes, in order, whatever their number.

    PyTorch's own sampler pads the ranks to one length with repeated samples, which then count twice in every mean.
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
