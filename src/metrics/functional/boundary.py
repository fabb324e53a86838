"""Boundary IoU (Cheng et al., CVPR 2021): the overlap of the two inner rims."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import minimum_filter

from src.metrics.functional.arrays import BoolMap

DILATION = 0.02
"""Width of a rim as a share of the image's diagonal, the paper's choice."""


def boundary_iou(foreground: BoolMap, target: BoolMap) -> float:
    """Boundary IoU of a binarised prediction in [0, 1], higher is better.

    Only the rims of prediction and mask are compared: the pixels of a region within `rim_width` pixels (chessboard
    distance) of its outside. Everything beyond the image's border is outside. 0, not 1, when both rims are empty, as
    for IoU. Source: the paper's equation 3 and its released `mask_to_boundary`.

    >>> import numpy as np
    >>> target = np.zeros((9, 9), dtype=bool)
    >>> target[2:7, 2:7] = True
    >>> filled = boundary_iou(target, target)
    >>> shifted = boundary_iou(np.roll(target, 1, axis=1), target)
    >>> filled, round(shifted, 4)
    (1.0, 0.3333)
    """
    width = rim_width(target.shape)
    pred_rim, target_rim = rim(foreground, width), rim(target, width)
    union = int(np.count_nonzero(pred_rim | target_rim))
    return int(np.count_nonzero(pred_rim & target_rim)) / union if union else 0.0


def rim_width(shape: tuple[int, ...]) -> int:
    """Return the width of a rim in pixels: 2 % of the diagonal, rounded, at least 1.

    >>> rim_width((384, 384)), rim_width((3, 4))
    (11, 1)
    """
    return max(1, round(DILATION * math.hypot(*shape)))


def rim(mask: BoolMap, width: int) -> BoolMap:
    """Return the mask minus its erosion (`width` times by 3×3), (H, W) bool.

    >>> import numpy as np
    >>> rim(np.ones((3, 4), dtype=bool), 1).astype(int)
    array([[1, 1, 1, 1],
           [1, 0, 0, 1],
           [1, 1, 1, 1]])
    """
    core = minimum_filter(mask.astype(np.uint8), size=2 * width + 1, mode="constant", cval=0)
    return mask & (core == 0)
