"""The training order depends on seed and epoch alone, also when it is resumed in the middle."""

from __future__ import annotations

import pytest

from src.data.sampler import EpochSampler

SIZES = (32, 64, 96)


def order(epoch: int = 0, batch: int = 0) -> EpochSampler:
    return EpochSampler(range(20), seed=3, epoch=epoch, sizes=SIZES, batch_size=4, batch=batch)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch", [0, 1, 4, 5])
def test_a_resumed_epoch_is_the_rest_of_the_whole_one(batch):
    assert list(order(epoch=2, batch=batch)) == list(order(epoch=2))[4 * batch :]
    assert len(order(epoch=2, batch=batch)) == 20  # Lightning counts batches with len()


def test_the_next_epoch_is_whole_again():
    sampler = order(epoch=2, batch=3)
    sampler.set_epoch(2)  # Lightning sets the epoch a second time
    assert len(list(sampler)) == 8
    sampler.set_epoch(3)
    assert list(sampler) == list(order(epoch=3))
