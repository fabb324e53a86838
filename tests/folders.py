"""Tiny data sets on disk for tests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from src.data.synthetic import SyntheticCamouflage


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


def write_scenes(folder: Path, count: int, prefix: str, size: tuple[int, int] = (70, 90), seed: int = 0) -> None:
    """Write ``count`` synthetic scenes as ``folder/{Imgs,GT}``."""
    scenes = SyntheticCamouflage(count, size, concealment=0.2, seed=seed)
    for kind in ("Imgs", "GT"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(scenes[i].image).save(folder / "Imgs" / f"{prefix}{i:03d}.jpg", quality=95)
        Image.fromarray(scenes[i].mask).save(folder / "GT" / f"{prefix}{i:03d}.png")


def write_cod(root: Path, train: int = 24, test: int = 3) -> Path:
    """A data root with CAMO and COD10K to train on, and CAMO and NC4K to test on."""
    write_scenes(root / "TrainDataset" / "CAMO", train, "camourflage_", seed=1)
    write_scenes(root / "TrainDataset" / "COD10K", train // 2, "COD10K-CAM-", seed=2)
    write_scenes(root / "TestDataset" / "CAMO", test, "camourflage_9", seed=3)
    write_scenes(root / "TestDataset" / "NC4K", test, "nc4k_", seed=4)
    return root


def write_tasks(root: Path) -> Path:
    """A data root with a few scenes for every task of `conf/data`; DRIVE has fields of view."""
    write_cod(root)
    for name, prefix in {"Kvasir": "cju", "Kvasir-SEG": "k", "CVC-ClinicDB": "1", "GDD": "", "GSD": "", "DRIVE": ""}.items():
        write_scenes(root / "TrainDataset" / name, 20, prefix, seed=5)
    for name in ("ETIS", "GSD", "DRIVE"):
        write_scenes(root / "TestDataset" / name, 2, "9", seed=6)
    for split in ("TrainDataset", "TestDataset"):
        drive = root / split / "DRIVE"
        (drive / "fov").mkdir()
        for path in (drive / "GT").iterdir():
            Image.fromarray(np.full((70, 90), 255, np.uint8)).save(drive / "fov" / path.name)
    return root
