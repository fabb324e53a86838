"""Camouflage-weighted context measure (Wang et al., arXiv 2512.07076, 2025): hidden parts of the object weigh more."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import EPS, BoolMap, FloatMap
from src.metrics.functional.context import context
from src.utils.errors import UserError

Image = NDArray[np.uint8]
"""(H, W, 3) RGB."""

BETA_SQUARED = 1.2
PATCH, STRIDE = 7, 3
"""Side of the compared patches and the step between them, in pixels."""
RING = 20
"""Side of the dilation in pixels: the ring that it adds around the object is the object's surroundings."""
SPATIAL = 20.0
"""Weight of a patch's standardised position relative to its Lab values."""
STEEPNESS = 8.0

CHUNK = 2048


def context_weighted(pred: FloatMap, target: BoolMap, image: Image) -> float:
    """C_β^ω with β² = 1.2, in [0, 1], higher is better.

    It is `context` with a reverse part that weighs each pixel by 1 + its camouflage degree.

    Source: `CamouflageContextMeasure` of pysodmetrics 1.6.2. Needs OpenCV, which comes with albumentations, and
    scikit-image.

    Raises:
        UserError: scikit-image is not installed.

    >>> import numpy as np
    >>> target = np.zeros((48, 48), dtype=bool)
    >>> target[16:32, 16:32] = True
    >>> image = np.random.default_rng(0).integers(100, 120, (48, 48, 3), dtype=np.uint8)
    >>> round(context_weighted(np.roll(target, 3, axis=1).astype(float), target, image), 3)
    0.644
    """
    return context(pred, target, camouflage_degree(image, target), BETA_SQUARED)


def camouflage_degree(image: Image, target: BoolMap) -> FloatMap:
    """Return the camouflage degree, (H, W) in [0, 1]: 1 where patches of the surroundings reproduce the object.

    Each patch inside the object is replaced by the most similar one (Lab values and position) of the ring around it.
    The degree is (e^(8 s) − 1) / (e^8 − 1) with s = 1 − ΔE / 100, where ΔE is the colour difference ΔE 2000 between
    the replaced and the original pixel. It is 0 off the object, and everywhere if no patch fits.

    >>> import numpy as np
    >>> target = np.zeros((48, 48), dtype=bool)
    >>> target[16:32, 16:32] = True
    >>> plain = np.full((48, 48, 3), 128, dtype=np.uint8)
    >>> white = np.where(target[..., None], np.uint8(255), plain)
    >>> [round(float(camouflage_degree(image, target)[20, 20]), 3) for image in (plain, white)]
    [1.0, 0.07]
    """
    import cv2

    mask = target.astype(np.uint8)
    ring = np.asarray(cv2.dilate(mask, np.ones((RING, RING), np.uint8)), dtype=np.uint8) - mask
    lab = np.asarray(cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB), dtype=np.uint8)
    inside, inside_features = _patches(lab, mask)
    around, around_features = _patches(lab, ring)
    if not len(inside) or not len(around):
        return np.zeros(target.shape)
    positions = np.vstack([around, inside]).astype(np.float64)
    spread = positions.std(axis=0)
    positions = SPATIAL * ((positions - positions.mean(axis=0)) / np.where(spread == 0, 1, spread))
    nearest = _nearest(
        np.hstack([inside_features, positions[len(around) :]]).astype(np.float32),
        np.hstack([around_features, positions[: len(around)]]).astype(np.float32),
    )
    painted = _painted(image * ring[..., None], inside, around[nearest])
    return np.expm1(STEEPNESS * _similarity(painted, image * mask[..., None]) * mask) / math.expm1(STEEPNESS)


def _patches(lab: Image, region: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Return corners (n, 2) and values (n, 7·7·3) of the grid's patches that lie entirely in the region."""
    grown = [(0, -(side - PATCH) % STRIDE) for side in region.shape]
    padded = np.pad(region, grown)
    if min(padded.shape) < PATCH:
        return np.empty((0, 2), np.intp), np.empty((0, PATCH * PATCH * 3), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (PATCH, PATCH))[::STRIDE, ::STRIDE]
    corners = np.argwhere(windows.all(axis=(2, 3)))
    values = np.lib.stride_tricks.sliding_window_view(np.pad(lab, [*grown, (0, 0)], mode="reflect"), (PATCH, PATCH, 3))
    chosen = values[::STRIDE, ::STRIDE, 0][corners[:, 0], corners[:, 1]]
    return corners * STRIDE, chosen.reshape(len(corners), PATCH * PATCH * 3)


def _nearest(queries: NDArray[np.float32], candidates: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the index of the nearest candidate for each query."""
    exact = candidates.astype(np.float64)
    norms = (exact**2).sum(axis=1)
    found = [
        (norms - 2 * (queries[i : i + CHUNK].astype(np.float64) @ exact.T)).argmin(axis=1)
        for i in range(0, len(queries), CHUNK)
    ]
    return np.concatenate(found)


def _painted(source: Image, corners: NDArray[np.intp], from_corners: NDArray[np.intp]) -> Image:
    """Paste patches of `source` at `corners`; where they overlap, take their mean, (H, W, 3) uint8."""
    total, count = np.zeros(source.shape, np.int64), np.zeros(source.shape[:2])
    highest = np.array(source.shape[:2]) - PATCH
    corners, from_corners = np.minimum(corners, highest), np.minimum(from_corners, highest)
    for offset in np.ndindex(PATCH, PATCH):
        (y, x), (from_y, from_x) = (corners + offset).T, (from_corners + offset).T
        np.add.at(total, (y, x), source[from_y, from_x])
        np.add.at(count, (y, x), 1)
    return np.round(total / (count + EPS)[..., None]).astype(np.uint8)


def _similarity(first: Image, second: Image) -> FloatMap:
    """Return 1 − ΔE 2000 / 100 per pixel, at least 0."""
    try:
        from skimage.color import deltaE_ciede2000, rgb2lab
    except ImportError as error:
        raise UserError(
            "metrics.extra names context_weighted, which needs scikit-image: pip install scikit-image, or leave it out"
        ) from error
    return 1 - np.clip(deltaE_ciede2000(rgb2lab(first), rgb2lab(second)) / 100, 0, 1)
