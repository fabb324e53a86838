"""If the machine is too small, the message says what to change."""

from __future__ import annotations

import pytest
import torch

from src.utils.errors import UserError
from src.utils.failures import explained, explanation


def test_memory_that_is_full_names_the_sizes():
    words = r"memory is full with data\.batch_size=4 and data\.image_size=64: .*effective_batch"
    with pytest.raises(UserError, match=words), explained("data.batch_size=4 and data.image_size=64"):
        torch.empty(1 << 50)


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError("std::bad_alloc")],
)
def test_every_kind_of_it(error):
    assert str(explanation(error, "data.batch_size=4")).startswith("memory is full with data.batch_size=4: ")


@pytest.mark.parametrize(
    "error", [UserError("no shared memory(shm)"), RuntimeError("shape mismatch"), ValueError("out of memory")]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as raised, explained("data.batch_size=4"):
        raise error
    assert raised.value is error
