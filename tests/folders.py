"""Tiny folder sets for tests."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from src.data.synthetic import SyntheticCamouflage


def write_set(folder: Path, count: int, prefix: str, size: tuple[int, int] = (70, 90), seed: int = 0) -> None:
    """Write ``count`` synthetic scenes as ``folder/{Imgs,GT}``."""
    scenes = SyntheticCamouflage(count, size, concealment=0.2, seed=seed)
    for kind in ("Imgs", "GT"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        Image.fromarray(scenes[i].image).save(folder / "Imgs" / f"{prefix}{i:03d}.jpg", quality=95)
        Image.fromarray(scenes[i].mask).save(folder / "GT" / f"{prefix}{i:03d}.png")


def write_root(root: Path, train: int = 24, test: int = 3) -> Path:
    """A data root with CAMO and COD10K to train on, and CAMO and NC4K to test on."""
    write_set(root / "TrainDataset" / "CAMO", train, "camourflage_", seed=1)
    write_set(root / "TrainDataset" / "COD10K", train // 2, "COD10K-CAM-", seed=2)
    write_set(root / "TestDataset" / "CAMO", test, "camourflage_9", seed=3)
    write_set(root / "TestDataset" / "NC4K", test, "nc4k_", seed=4)
    return root
