"""Sources as torch data sets: one form for training, one for evaluation."""

from __future__ import annotations

from typing import Any, TypedDict

import albumentations as A
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from src.data.sampler import SeededIndex
from src.data.sources import Source
from src.data.transforms import reseed, resize_image


class TrainSample(TypedDict):
    """`image` float32 (3, S, S) RGB in [0, 1], not normalised; `mask` float32 (1, S, S) in {0, 1}; `name` the stem."""

    image: Tensor
    mask: Tensor
    name: str


class _Sample(TypedDict):
    image: Tensor
    mask: Tensor
    name: str


class EvalSample(_Sample, total=False):
    """`image` float32 (3, S, S) RGB in [0, 1]; `mask` bool (h, w) at the file's own size, where measures are taken; `name` the stem.

    `valid`: bool (h, w), the pixels that measures count; only in sets that have a field of view.
    """

    valid: Tensor


class _Batch(TypedDict):
    image: Tensor
    mask: list[Tensor]
    name: list[str]


class EvalBatch(_Batch, total=False):
    """`image` (N, 3, S, S); N masks of N sizes and N names as lists; `valid` if any sample has one (all true for the others)."""

    valid: list[Tensor]


class COSDataset(Dataset[TrainSample]):
    """Training samples. A `SeededIndex` brings the seed of its augmentation; for a plain index torch's generator draws one."""

    def __init__(self, source: Source, transform: A.Compose) -> None:
        self.source = source
        self.transform = transform

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int | SeededIndex) -> TrainSample:
        sample, seed = index if isinstance(index, SeededIndex) else (index, int(torch.randint(2**31, ())))
        raw = self.source[sample]
        reseed(self.transform, seed)
        out = self.transform(image=raw.image, mask=raw.mask.astype(np.uint8))
        mask = torch.from_numpy((out["mask"] > 0).astype(np.float32)[None])
        return {"image": to_tensor(out["image"]), "mask": mask, "name": raw.name}


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
    """uint8 (H, W, 3) to float32 (3, H, W) in [0, 1]; in NumPy, as torch would wake its threads for every small image."""
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
