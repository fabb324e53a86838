"""From a raw sample to the network's input size: the one resize for training and evaluation, and the training recipes."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks the package index for a newer version

import albumentations as A
import cv2
import numpy as np
from PIL import Image
from pydantic import BaseModel

from src.data.pillow_resize import resize_bilinear

cv2.setNumThreads(
    0
)  # images are small and the loader's workers are the parallelism; nested threads only fight over the cores

SMOOTH = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], dtype=np.float32) / 13  # the kernel behind Pillow's sharpness


def resize_image(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (H, W, 3) to (size, size, 3): bilinear, antialiased along every axis that shrinks.

    Pillow's filter, which the field's `transforms.Resize` on Pillow images is, bit for bit. OpenCV's INTER_LINEAR
    aliases: 3 to 6 grey levels away on average (CAMO to 224 px); INTER_AREA is 1 to 2 away and no filter at all where
    one axis grows.
    """
    return resize_bilinear(image, size, size)


def resize_mask(mask: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """uint8 (H, W) to (size, size), or to (height, width): the value under each new pixel's centre, so that binary stays binary.

    Pillow's NEAREST: OpenCV's INTER_NEAREST takes the corner instead, half a pixel off the image.
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
    """Remove up to `pixels` of the width and of the height, a quarter of either at most, at a random place (the code's stays centred)."""

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
    """Pillow's sharpness with a factor uniform in [low, high]: 0 = smoothed, 1 = as it is, above = the opposite of smoothed."""

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
        scales: the sides that batches are trained at, as multiples of `data.image_size`, each to the nearest 32 px;
            drawn per batch.
    """

    def __init__(
        self,
        before: Sequence[A.BasicTransform] = (),
        after: Sequence[A.BasicTransform] = (),
        scales: Sequence[float] = (1.0,),
    ) -> None:
        self.before, self.after, self.scales = list(before), list(after), tuple(scales)

    def __call__(self, size: int) -> A.Compose:
        """The pipeline to one square of `size` pixels; geometry acts on image and mask alike."""
        return A.Compose(deepcopy([*self.before, Resize(size=size), *self.after]))

    def sizes(self, size: int) -> tuple[int, ...]:
        """The sides to train at, in pixels."""
        return tuple(size if scale == 1 else max(32, round(scale * size / 32) * 32) for scale in self.scales)


def paper_recipe(size: int) -> A.Compose:
    """The released code's augmentation (method.md §5), less its faults: crops are not centred, masks not bicubic, labels get no noise.

    Geometry and sharpness act at the file's resolution, where their pixels are meant; colour acts after the resize,
    which it commutes with up to rounding. What turns in from outside the image is black and background, as in the code.
    The same as `conf/data/augmentation/paper.yaml`, for use without Hydra.
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
    """No augmentation: what evaluation sees."""
    return Recipe()(size)


def reseed(transform: A.Compose, seed: int) -> None:
    """Make the transform's next call depend on `seed` alone.

    Not `set_random_seed`: albumentations 2.0.8 then starts every step at the same state, and the steps' draws are no
    longer independent (with it, the rotation of p 0.2 happens to flipped images only). One generator shared by all
    steps is what is wanted.
    """
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
