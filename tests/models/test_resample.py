"""Pooling and upsampling against plain loops; both keep token (i, j) on the pixels from (i·s, j·s)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from src.models.resample import pad_to_multiple, pool, upsample


def _cell_means(x: Tensor, factor: int) -> Tensor:
    """Pixels outside the image are read as the nearest ones inside."""
    height, width = x.shape[-2:]
    means = torch.empty(*x.shape[:2], -(-height // factor), -(-width // factor))
    for i in range(means.shape[-2]):
        for j in range(means.shape[-1]):
            rows = [min(i * factor + a, height - 1) for a in range(factor)]
            columns = [min(j * factor + b, width - 1) for b in range(factor)]
            means[..., i, j] = x[..., rows, :][..., columns].mean((-2, -1))
    return means


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("size", [(8, 16), (9, 15), (13, 6), (1, 17)])
def test_pool_is_the_mean_of_cells_with_replicated_border(size, factor):
    x = torch.rand(2, 3, *size)
    torch.testing.assert_close(pool(x, factor), _cell_means(x, factor))


def test_pad_to_multiple_repeats_the_bottom_row_and_the_right_column():
    x = torch.rand(2, 3, 5, 7)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 3), (0, 1)), mode="edge")
    assert np.array_equal(pad_to_multiple(x, 4).numpy(), expected)
    assert pad_to_multiple(x[..., :4, :4], 4).shape == (2, 3, 4, 4)


def _bilinear_at(x: Tensor, i: int, j: int, factor: int) -> Tensor:
    """Value of the upsampled map at pixel (i, j): pixel centres, clamped at the border."""
    value = torch.zeros(x.shape[:2])
    row, column = ((p + 0.5) / factor - 0.5 for p in (i, j))
    for a in (int(np.floor(row)), int(np.floor(row)) + 1):
        for b in (int(np.floor(column)), int(np.floor(column)) + 1):
            weight = (1 - abs(row - a)) * (1 - abs(column - b))
            value += weight * x[..., min(max(a, 0), x.shape[-2] - 1), min(max(b, 0), x.shape[-1] - 1)]
    return value


@pytest.mark.parametrize(("factor", "size"), [(1, (4, 5)), (2, (7, 10)), (4, (14, 17)), (8, (25, 40))])
def test_upsample_is_bilinear_and_crops_at_the_bottom_and_the_right(factor, size):
    x = torch.randn(2, 3, -(-size[0] // factor), -(-size[1] // factor))
    up = upsample(x, factor, size)
    assert up.shape == (2, 3, *size)
    for i, j in [(0, 0), (size[0] - 1, size[1] - 1), (0, size[1] - 1), (size[0] // 2, size[1] // 3)]:
        torch.testing.assert_close(up[..., i, j], _bilinear_at(x, i, j, factor))


@pytest.mark.parametrize("factor", [2, 4])
def test_upsample_then_pool_keeps_a_ramp_in_place(factor):
    """Neither of the two shifts: a linear ramp comes back exactly, away from the border."""
    ramp = torch.arange(9.0).expand(1, 1, 6, 9) + 10 * torch.arange(6.0).view(6, 1)
    back = pool(upsample(ramp, factor, (6 * factor, 9 * factor)), factor)
    torch.testing.assert_close(back[..., 1:-1, 1:-1], ramp[..., 1:-1, 1:-1])
