"""The built-in synthetic camouflage set: it needs no files, and its difficulty can be set.

A scene is a background of one texture with an object cut out of *another sample of the same process*, turned, rescaled
and recoloured a little. What reveals the object is that it interrupts the texture. Colour patches with soft rims (the
texture continues underneath) and shadows are laid over the scene as distractors, so brightness and hue alone mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import albumentations as A
import cv2
import numpy as np
from numpy.random import Generator, SeedSequence

from src.data.datamodule import COSDataModule
from src.data.opening import Parts
from src.data.prompt_recipe import PromptRecipe
from src.data.sources import RawSample, Source
from src.data.synthetic.shapes import blob, grow_to_area
from src.data.synthetic.textures import Texture, colourise, random_texture, smooth_noise, standardised
from src.data.transforms import resize_only

SPLITS = ("train", "val", "test")


class SyntheticCamouflage:
    """A source of `length` synthetic scenes.

    Args:
        length: number of scenes.
        size: (height, width) in pixels, or one number for both.
        concealment: from 0, clearly visible, to 1, where the object differs from its surroundings by its outline only.
        seed: a scene depends on (seed, split, index) and nothing else.
        split: one of `SPLITS`, which share no scene.
    """

    def __init__(
        self, length: int, size: int | tuple[int, int], concealment: float = 0.4, seed: int = 0, split: str = "train"
    ) -> None:
        self.length = length
        self.height, self.width = (size, size) if isinstance(size, int) else size
        self.concealment = concealment
        self.seed = seed
        self.split = split

    @property
    def names(self) -> Sequence[str]:
        """Names of the scenes."""
        return [self._name(index) for index in range(self.length)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> RawSample:
        if not 0 <= index < self.length:
            raise IndexError(index)
        rng = np.random.default_rng(SeedSequence([self.seed, SPLITS.index(self.split), index]))
        image, mask = draw_scene(rng, self.height, self.width, self.concealment)
        return RawSample(image, mask, self._name(index))

    def _name(self, index: int) -> str:
        return f"synthetic_{self.split}_{index:05d}"


def draw_scene(rng: Generator, height: int, width: int, concealment: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw one scene: uint8 (H, W, 3) RGB and a bool mask (H, W)."""
    difference = 1 - concealment
    texture = random_texture(rng)
    mask = draw_mask(rng, height, width)
    field = texture.field(rng, height, width)
    scene = colourise(field, texture.palette)
    for _ in range(rng.integers(1, 4)):
        patch = colourise(field, texture.palette.shifted(*_colour_shift(rng, difference)))
        scene += _soft_blob(rng, height, width)[..., None] * (patch - scene)

    other = changed(rng, texture, difference)
    surface = colourise(other.field(rng, height, width), other.palette)
    surface *= _relief(rng, mask, 0.3 * difference)[..., None]
    rim = max(min(height, width) / 128 * rng.uniform(0.5, 0.9), 0.4)
    scene += cv2.GaussianBlur(mask.astype(np.float32), (0, 0), rim)[..., None] * (surface - scene)

    light = np.exp(0.15 * standardised(smooth_noise(rng, height, width, 0.6 * min(height, width))))
    for _ in range(rng.integers(1, 4)):
        light *= 1 - rng.uniform(0.15, 0.4) * _soft_blob(rng, height, width)
    scene = scene * light[..., None] + 0.01 * rng.standard_normal((height, width, 3), dtype=np.float32)
    return (np.clip(scene, 0, 1) * 255).round().astype(np.uint8), mask


def changed(rng: Generator, texture: Texture, difference: float) -> Texture:
    """Return the object's texture: the background's, turned by up to 90°, scaled by up to 1.9×, and recoloured.

    Structure changes in proportion to `difference`, colour with its square: colours match first, as on real animals.
    """
    return replace(
        texture,
        angle=texture.angle + difference * rng.choice([-1, 1]) * rng.uniform(np.pi / 3, np.pi / 2),
        scale=texture.scale * np.exp(difference * rng.choice([-1, 1]) * rng.uniform(0.35, 0.65)),
        palette=texture.palette.shifted(*_colour_shift(rng, difference)),
    )


def draw_mask(rng: Generator, height: int, width: int) -> np.ndarray:
    """Return a bool mask (H, W) of one object, or two in a fifth of the scenes.

    The object has one to three lobes; all together cover 4 to 30 % of the image.
    """
    centre = rng.uniform(0.25, 0.75, size=2)
    implicit = blob(rng, height, width, centre, rng.uniform(0.12, 0.22))
    for _ in range(rng.integers(0, 3)):
        lobe = centre + rng.uniform(-0.2, 0.2, size=2)
        implicit = np.maximum(implicit, blob(rng, height, width, lobe, rng.uniform(0.06, 0.16)))
    if rng.random() < 0.2:
        apart = (centre + rng.choice([-1, 1], size=2) * rng.uniform(0.3, 0.45, size=2)).clip(0.15, 0.85)
        implicit = np.maximum(implicit, blob(rng, height, width, apart, rng.uniform(0.1, 0.2)))
    return grow_to_area(implicit, float(np.exp(rng.uniform(np.log(0.04), np.log(0.30)))))


def _colour_shift(rng: Generator, difference: float) -> tuple[float, float]:
    """Return random shifts of hue (in turns) and lightness, of either sign."""
    hue, lightness = rng.choice([-1, 1], size=2) * rng.uniform((0.03, 0.05), (0.10, 0.18))
    return difference**2 * hue, difference**2 * lightness


def _soft_blob(rng: Generator, height: int, width: int) -> np.ndarray:
    """Return float32 (H, W) in [0, 1]: a blob with a wide rim, drawn small since nothing in it is sharp."""
    small = (max(height // 4, 8), max(width // 4, 8))
    shape = grow_to_area(blob(rng, *small, rng.uniform(0, 1, size=2), rng.uniform(0.1, 0.25)), rng.uniform(0.03, 0.2))
    rim = rng.uniform(0.03, 0.07) * min(small)
    return cv2.resize(
        cv2.GaussianBlur(shape.astype(np.float32), (0, 0), rim), (width, height), interpolation=cv2.INTER_LINEAR
    )


def _relief(rng: Generator, mask: np.ndarray, strength: float) -> np.ndarray:
    """Return the shading of a rounded body lit from a random side, as factors around 1."""
    body = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), max(0.05 * min(mask.shape), 1.0))
    slope_y, slope_x = np.gradient(body)
    side = rng.uniform(0, 2 * np.pi)
    slope = np.cos(side) * slope_x + np.sin(side) * slope_y
    return (1 + strength * slope / max(float(np.abs(slope).max()), 1e-6)).astype(np.float32)


class SyntheticDataModule(COSDataModule):
    """Synthetic camouflage with the interface of `COSDataModule`.

    It has three splits of fresh scenes and one test set called "synthetic".
    """

    def __init__(
        self,
        num_train: int = 400,
        num_val: int = 50,
        num_test: int = 100,
        concealment: float = 0.4,
        seed: int = 0,
        image_size: int = 128,
        batch_size: int = 8,
        eval_batch_size: int | None = None,
        num_workers: int = 2,
        augmentation: Callable[[int], A.Compose] = resize_only,
        prompts: PromptRecipe | None = None,
        pin_memory: bool = False,
        persistent_workers: bool = True,
    ) -> None:
        super().__init__(
            root=".",
            train_sets=["synthetic"],
            test_sets=["synthetic"],
            image_size=image_size,
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            num_workers=num_workers,
            val_fraction=num_val / max(num_train + num_val, 1),
            augmentation=augmentation,
            prompts=prompts,
            pin_memory=pin_memory,
            persistent_workers=persistent_workers,
        )
        self.lengths = dict(zip(SPLITS, (num_train, num_val, num_test), strict=True))
        self.concealment = concealment
        self.seed = seed

    def open_train(self, problems: list[str]) -> Parts:
        """Return the training and validation scenes."""
        return Parts(
            self._split("train", problems),
            self._split("val", problems),
            SyntheticCamouflage(0, self.settings.image_size),
        )

    def open_tests(self, problems: list[str]) -> dict[str, Source]:
        """Return the test scenes, as the set ``synthetic``."""
        return {"synthetic": self._split("test", problems)}

    def describe(self) -> dict[str, Any]:
        """Return what reports say about the data."""
        return {
            **super().describe(),
            "root": "none, scenes are drawn",
            "concealment": self.concealment,
            "scene_seed": self.seed,
        }

    def selected_on(self) -> str:
        """Return what the best checkpoint is chosen on, in words."""
        return (
            f"{self.lengths['val']} scenes that training never sees" if self.lengths["val"] else super().selected_on()
        )

    def _split(self, split: str, problems: list[str]) -> SyntheticCamouflage:
        if self.lengths[split] < (0 if split == "val" else 1):
            problems.append(f"data.num_{split}={self.lengths[split]}: must be 1 or more")
        if not 0 <= self.concealment <= 1:
            problems.append(f"data.concealment={self.concealment}: must lie in [0, 1]")
        if self.seed < 0:
            problems.append(f"data.seed={self.seed}: must be 0 or more")
        return SyntheticCamouflage(self.lengths[split], self.settings.image_size, self.concealment, self.seed, split)
