"""Sources as torch data sets: one form for training, one for evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypedDict

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from src.data.prompt_recipe import PromptRecipe
from src.data.sampler import SeededIndex
from src.data.sources import RawSample, Source
from src.data.transforms import reseed, resize_image, resize_mask

IGNORED, BACKGROUND, OBJECT = 0, 1, 2
"""Values of a mask with ignored pixels while it is augmented: what a transform fills in is 0, so it is ignored."""


class _Sample(TypedDict):
    image: Tensor
    mask: Tensor
    name: str


class TrainSample(_Sample, total=False):
    """`image` float32 (3, S, S) RGB in [0, 1], not normalised; `mask` float32 (1, S, S) in {0, 1}; `name` the stem.

    `valid`: float32 (1, S, S) in {0, 1}, the pixels that the loss counts; only with an ignore value. With
    `data.prompts` also what `PromptSample` has.
    """

    valid: Tensor
    prompt_target: Tensor
    prompt_certainty: Tensor
    clicks: int
    click_seed: int


class EvalSample(_Sample, total=False):
    """`image` float32 (3, S, S) RGB in [0, 1]; `mask` bool (h, w) at the file's own size; `name` the stem.

    `valid`: bool (h, w), the pixels that measures count; only in sets that have a field of view or an ignore value.
    """

    valid: Tensor


class _Batch(TypedDict):
    image: Tensor
    mask: list[Tensor]
    name: list[str]


class EvalBatch(_Batch, total=False):
    """`image` (N, 3, S, S); `mask` and `name` are lists of N, each mask at its own size.

    `valid`: a list of N if any sample has one, all true for the others.
    """

    valid: list[Tensor]


class COSDataset(Dataset[TrainSample]):
    """Training samples at `image_size`, or at the size that a `SeededIndex` carries.

    A `SeededIndex` also carries the seed of the augmentation; for a plain index torch's generator draws one.

    Args:
        source: the images and masks.
        recipe: makes the training transform for a size (`transforms.Recipe`).
        ignores: samples have `valid`: pixels that are not valid in the source, or come from outside the image, count in
            no loss.
        prompts: makes the samples' prompts; None: they have none.
    """

    def __init__(
        self,
        source: Source,
        recipe: Callable[[int], A.Compose],
        image_size: int,
        ignores: bool = False,
        prompts: PromptRecipe | None = None,
    ) -> None:
        self.source, self.ignores, self.prompts = source, ignores, prompts
        self.recipe, self.image_size = recipe, image_size
        self._transforms: dict[int, A.Compose] = {}

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | SeededIndex) -> TrainSample:
        sample = index if isinstance(index, SeededIndex) else SeededIndex(index, int(torch.randint(2**31, ())))
        raw, transform = self.source[sample.sample], self._transform(sample.size or self.image_size)
        mask = self._labels(raw) if self.ignores else raw.mask.view(np.uint8)
        reseed(transform, sample.seed)
        kind, rng = self.prompts.drawn(sample.seed) if self.prompts is not None else ("none", None)
        maps = {}
        if self.prompts is not None and kind == "maps":
            maps["masks"] = [_like(self.prompts.stored_map(raw.name, raw.mask.shape), raw.image)]
        out = transform(image=raw.image, mask=_like(mask, raw.image), **maps)
        found = out["mask"] == OBJECT if self.ignores else out["mask"] > 0
        made: TrainSample = {
            "image": to_tensor(out["image"]),
            "mask": torch.from_numpy(found.astype(np.float32)[None]),
            "name": raw.name,
        }
        if self.ignores:
            made["valid"] = torch.from_numpy((out["mask"] != IGNORED).astype(np.float32)[None])
        if self.prompts is not None and rng is not None:
            map_ = out["masks"][0] if maps else None
            other = functools.partial(self._mask_of_another, sample.sample)
            made.update(self.prompts.sample(kind, rng, np.asarray(found), other, map_))
        return made

    def _mask_of_another(self, sample: int, number: int) -> np.ndarray:
        """Return the mask of any sample but `sample`; of that one if there is no other."""
        other = number % len(self.source)
        return self.source[(other + 1) % len(self.source) if other == sample else other].mask

    @staticmethod
    def _labels(raw: RawSample) -> np.ndarray:
        labels = np.where(raw.mask, OBJECT, BACKGROUND).astype(np.uint8)
        return labels if raw.valid is None else np.where(raw.valid, labels, IGNORED).astype(np.uint8)

    def _transform(self, size: int) -> A.Compose:
        if size not in self._transforms:
            self._transforms[size] = self.recipe(size)
        return self._transforms[size]


def _like(mask: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return a mask at the size of its image, which may be decoded at a part of it, or cached at the network's."""
    return mask if mask.shape == image.shape[:2] else resize_mask(mask, image.shape[:2])


class COSEvalDataset(Dataset[EvalSample]):
    """Evaluation samples: the image at the network's size, the mask untouched."""

    def __init__(self, source: Source, image_size: int) -> None:
        self.source = source
        self.image_size = image_size

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> EvalSample:
        raw = self.source[index]
        sample: EvalSample = {
            "image": to_tensor(resize_image(raw.image, self.image_size)),
            "mask": torch.from_numpy(np.ascontiguousarray(raw.mask)),
            "name": raw.name,
        }
        if raw.valid is not None:
            sample["valid"] = torch.from_numpy(np.ascontiguousarray(raw.valid))
        return sample


def to_tensor(image: np.ndarray) -> Tensor:
    """Return uint8 (H, W, 3) as float32 (3, H, W) in [0, 1].

    It is computed in NumPy: torch would wake its threads for every small image.
    """
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32) / np.float32(255))


def collate_eval(samples: list[Any]) -> EvalBatch:
    """Stack the images; masks differ in size and stay a list."""
    batch: EvalBatch = {
        "image": torch.stack([sample["image"] for sample in samples]),
        "mask": [sample["mask"] for sample in samples],
        "name": [sample["name"] for sample in samples],
    }
    if any("valid" in sample for sample in samples):
        batch["valid"] = [sample.get("valid", torch.ones_like(sample["mask"])) for sample in samples]
    return batch
