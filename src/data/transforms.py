"""From a raw sample to the network's input size: one resize for training and evaluation, and the training recipes."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # otherwise its import asks the package index for a newer version

import albumentations as A
import cv2
import numpy as np
from PIL import Image
from pydantic import BaseModel

from src.data.pillow_resize import resize_bilinear

# Images are small and the loader's workers run in parallel: nested threads would only compete for the cores.
cv2.setNumThreads(0)

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13  # the kernel behind Pillow's sharpness


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 (H, W, 3) to (size, size, 3): bilinear, antialiased along every axis that shrinks.

    This is Pillow's filter bit for bit, which the field's `transforms.Resize` applies to Pillow images. OpenCV's
    INTER_LINEAR aliases: it differs by 3 to 6 grey levels on average (CAMO to 224 px). INTER_AREA differs by 1 to 2,
    and does not filter at all where one axis grows.
    """
    return resize_bilinear(image, size, size)


def resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Resize uint8 (H, W) to (size, size) or to (height, width) by nearest neighbour, so that binary stays binary.

    Like Pillow's NEAREST it takes the value under each new pixel's centre: OpenCV's INTER_NEAREST takes the corner
    instead, half a pixel off the image.
    """
    height, width = (size, size) if isinstance(size, int) else size
    return np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))


class Resize(A.DualTransform):
    """`resize_image` and `resize_mask` as a step of a recipe."""

    class InitSchema(BaseModel):
        """Types of the settings, checked by albumentations."""

        size: int

    def __init__(self, size: int) -> None:
        super().__init__(p=1.0)
        self.size = size

    def apply(self, img: np.ndarray, **params: Any) -> np.ndarray:
        """Resize the image."""
        return resize_image(img, self.size)

    def apply_to_mask(self, mask: np.ndarray, **params: Any) -> np.ndarray:
        """Resize the mask."""
        return resize_mask(mask, self.size)


class CropUpTo(A.DualTransform):
    """Remove up to `pixels` of the width and of the height, a quarter of either at most, at a random place.

    The released code's crop stays centred.
    """

    class InitSchema(BaseModel):
        """Types of the settings, checked by albumentations."""

        pixels: int

    def __init__(self, pixels: int) -> None:
        super().__init__(p=1.0)
        self.pixels = pixels

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Draw the rows and columns that are kept."""
        rows, columns = (self._window(side) for side in params["shape"][:2])
        return {"rows": rows, "columns": columns}

    def _window(self, side: int) -> slice:
        removed = self.py_random.randint(0, min(self.pixels, side // 4))
        start = self.py_random.randint(0, removed)
        return slice(start, start + side - removed)

    def apply(self, img: np.ndarray, rows: slice, columns: slice, **params: Any) -> np.ndarray:
        """Crop the image."""
        return np.ascontiguousarray(img[rows, columns])

    def apply_to_mask(self, mask: np.ndarray, rows: slice, columns: slice, **params: Any) -> np.ndarray:
        """Crop the mask."""
        return np.ascontiguousarray(mask[rows, columns])


class Sharpness(A.ImageOnlyTransform):
    """Pillow's sharpness with a factor uniform in [low, high].

    0 smooths, 1 leaves the image as it is, above 1 sharpens.
    """

    class InitSchema(BaseModel):
        """Types of the settings, checked by albumentations."""

        low: float
        high: float

    def __init__(self, low: float, high: float) -> None:
        super().__init__(p=1.0)
        self.low, self.high = low, high

    def get_params(self) -> dict[str, Any]:
        """Draw the factor."""
        return {"factor": self.py_random.uniform(self.low, self.high)}

    def apply(self, img: np.ndarray, factor: float, **params: Any) -> np.ndarray:
        """Filter the image; masks stay as they are."""
        kernel = (1 - factor) * SMOOTH
        kernel[1, 1] += factor
        return cv2.filter2D(img, -1, kernel)


class Recipe:
    """A training transform made of albumentations steps, for any size.

    `conf/data/augmentation/` has the shipped ones.

    Args:
        before: steps at the file's resolution, before the resize.
        after: steps at the network's resolution.
        scales: the sides that batches are trained at, as multiples of `data.image_size`, each rounded to the nearest
            32 px; one is drawn per batch.
    """

    def __init__(
        self,
        before: Sequence[A.BasicTransform] = (),
        after: Sequence[A.BasicTransform] = (),
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self.before, self.after, self.scales = list(before), list(after), tuple(scales)

    def __call__(self, size: int) -> A.Compose:
        """Return the pipeline to one square of `size` pixels; geometry acts on image and mask alike."""
        return A.Compose(deepcopy([*self.before, Resize(size=size), *self.after]))

    def sizes(self, size: int) -> tuple[int, ...]:
        """Return the sides to train at, in pixels."""
        return tuple(size if scale == 1 else max(32, round(scale * size / 32) * 32) for scale in self.scales)


def paper_recipe(size: int) -> A.Compose:
    """Return the released code's augmentation (method.md §5) without its faults.

    Crops are not centred, masks are not bicubic, labels get no noise. Geometry and sharpness act at the file's
    resolution, to which their settings in pixels refer; colour acts after the resize, with which it commutes up to
    rounding. Pixels rotated in from outside are black and background, as in the code. The same as
    `conf/data/augmentation/paper.yaml`, for use without Hydra.
    """
    geometry = [
        A.HorizontalFlip(p=0.5),
        CropUpTo(pixels=30),
        A.Rotate(limit=(-15, 15), interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST, p=0.2),
        Sharpness(low=0.0, high=3.0),
    ]
    colour = A.ColorJitter(brightness=(0.5, 1.5), contrast=(0.5, 1.5), saturation=(0.0, 2.0), hue=(0.0, 0.0), p=1.0)
    return Recipe(geometry, [colour])(size)


def resize_only(size: int) -> A.Compose:
    """Return the transform without augmentation: what evaluation sees."""
    return Recipe()(size)


def reseed(transform: A.Compose, seed: int) -> None:
    """Make the transform's next call depend on `seed` alone.

    All steps share one generator. `set_random_seed` is not used: in albumentations 2.0.8 it starts every step in the
    same state, so that the steps' draws are no longer independent (the rotation of p 0.2 then happens to flipped images
    only).
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
