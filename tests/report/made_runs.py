"""Folders of finished trainings, made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from src.report.files import image_rows, metric_rows, write_csv
from tests.report.made import set_scores

IMAGES = ("a", "b", "c", "d")


def write_run(
    folder: Path,
    s_alpha: Mapping[str, Sequence[float]],
    stages: Sequence[float] = (),
    seed: int = 0,
    size: int = 224,
    lr: float = 5e-4,
    epochs: int = 12,
    commit: str | None = "abc1234",
    method: str = "RUN",
) -> Path:
    """A run of CAMO with S_α by split (`test`, `holdout`) and image, and the means of its stages M_0 …; 0.1 hours an epoch."""
    config: dict[str, Any] = {"seed": seed, "test": False, "model": {"optimizer": {"lr": lr}}, "trainer": {"max_epochs": epochs}}
    config |= {"data": {"image_size": size, "train_sets": ["CAMO"]}} | ({"commit": commit} if commit else {})
    (folder / "logs" / "version_0").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(config), folder / "config.yaml")
    watched = {"val/s_alpha": 0.5, "val/gain_1": 0.0, "unfolding/mu_0": 0.01, "unfolding/gamma_1": 0.0, "gradient/state_spaces_0": 1.0}
    log = [{"epoch": i, "epoch_seconds": 360} | {name: first + i / 100 for name, first in watched.items()} for i in range(epochs)]
    write_csv(folder / "logs" / "version_0" / "metrics.csv", log)
    for split, values in s_alpha.items():
        dataset = "CAMO" if split == "test" else "CAMO-holdout"
        final = set_scores(dataset, method, {"s_alpha": values}, IMAGES[: len(values)])
        maps = [set_scores(dataset, method, {"s_alpha": [value] * len(values)}, map_=f"M_{k}") for k, value in enumerate(stages)]
        (folder / split).mkdir()
        write_csv(folder / split / "per_image.csv", image_rows([final], "field"))
        write_csv(folder / split / "metrics.csv", metric_rows(maps or [final], (), "field"))
    return folder
