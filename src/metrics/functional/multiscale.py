"""Multi-scale IoU (Ahmadzadeh et al., ICIP 2021): share of the object's edges found, from pixels to coarse cells."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import sobel

from src.metrics.functional.arrays import BoolMap

LEVELS = 10
"""Cells are 1, 2, 4, … 512 pixels wide."""


def ms_iou(foreground: BoolMap, target: BoolMap) -> float:
    """Multi-scale IoU of a binarised prediction in (0, 1], higher is better.

    For each cell size: of the cells with an edge of the mask, the share that also hold an edge of the prediction (both
    counts plus one). The result is the area under these ten ratios. Despite the name, the denominator only counts the
    mask's cells, so false edges cost nothing. Source: `MSIoU` of pysodmetrics 1.6.2, whose counts above 2048 edge cells
    are rounded (it sums in half precision); here they are exact.

    >>> import numpy as np
    >>> target = np.zeros((32, 32), dtype=bool)
    >>> target[8:20, 8:20] = True
    >>> ms_iou(target, target), round(ms_iou(np.roll(target, 2, axis=0), target), 4)
    (1.0, 0.8853)
    """
    found, wanted = edges(foreground), edges(target)
    ratios = []
    for level in range(LEVELS):
        if level:
            found, wanted = _halved(found), _halved(wanted)
        ratios.append((np.count_nonzero(found & wanted) + 1) / (np.count_nonzero(wanted) + 1))
    return float(sum(a + b for a, b in pairwise(ratios)) / 2 / (LEVELS - 1))


def edges(mask: BoolMap) -> BoolMap:
    """Return where one of the two Sobel derivatives is not 0; outside the image is background.

    >>> import numpy as np
    >>> edges(np.array([[0, 0, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=bool)).astype(int)
    array([[0, 1, 1, 1, 0],
           [0, 1, 0, 1, 0],
           [0, 1, 1, 1, 0]])
    """
    signed = mask.astype(np.int8)  # a derivative lies in [−4, 4]
    rows: NDArray[np.int8] = sobel(signed, axis=0, mode="constant")
    columns: NDArray[np.int8] = sobel(signed, axis=1, mode="constant")
    return (rows != 0) | (columns != 0)


def _halved(cells: BoolMap) -> BoolMap:
    """Return cells of twice the size, aligned to the bottom right corner: marked if one of their four cells is."""
    height, width = cells.shape
    even = np.pad(cells, ((height % 2, 0), (width % 2, 0)))
    return even[::2, ::2] | even[::2, 1::2] | even[1::2, ::2] | even[1::2, 1::2]
