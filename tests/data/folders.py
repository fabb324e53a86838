"""Tiny data sets on disk for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image


def write_pair(folder: Path, stem: str, size: tuple[int, int] = (40, 48), seed: int = 0, suffix: str = ".jpg") -> None:
    """A noise image and a mask with a rectangle, both of (height, width) `size`, in Imgs and GT."""
    rng = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros(size, np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    for name in ("Imgs", "GT"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / "Imgs" / f"{stem}{suffix}")
    Image.fromarray(mask).save(folder / "GT" / f"{stem}.png")


def write_set(folder: Path, stems: Iterable[str], **options: tuple[int, int]) -> None:
    for seed, stem in enumerate(stems):
        write_pair(folder, stem, seed=seed, **options)


def write_root(root: Path, train: int = 30, test: int = 4) -> Path:
    """A data root with the sets TrainDataset/MINE and TestDataset/MINE."""
    write_set(root / "TrainDataset" / "MINE", (f"train_{i:03d}" for i in range(train)))
    write_set(root / "TestDataset" / "MINE", (f"test_{i:03d}" for i in range(test)))
    return root
