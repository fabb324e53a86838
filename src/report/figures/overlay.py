"""A mask laid over its image, for people."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_dilation, binary_erosion

TINT = np.array([255.0, 64.0, 32.0])


def overlay(image: np.ndarray, mask: np.ndarray, strength: float = 0.45) -> np.ndarray:
    """The image tinted where the object is, with a bright outline at probability 0.5.

    Args:
        image: (h, w, 3) uint8 RGB. mask: (h, w) in [0,1].
        strength: opacity of the tint at probability 1.

    Returns:
        (h, w, 3) uint8.
    """
    opacity = strength * mask[..., None]
    mixed = (1 - opacity) * image + opacity * TINT
    inside = mask > 0.5
    width = max(1, round(min(mask.shape) / 250))
    outline = binary_dilation(inside, iterations=width) & ~binary_erosion(inside, iterations=width, border_value=1)
    mixed[outline] = TINT
    return mixed.round().astype(np.uint8)
