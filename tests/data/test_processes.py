"""Several processes, many epochs: every sample once, nothing left open, nothing that grows."""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from src.data.cache import Cached
from src.data.datamodule import COSDataModule
from src.data.transforms import paper_recipe
from tests.fixtures.folders import write_root, write_scenes

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts through /proc")


class Recorder(L.LightningModule):
    """Writes the names that this rank sees in each phase."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.weight = torch.nn.Parameter(torch.ones(()))

    def record(self, phase: str, batch: dict[str, Any]) -> None:
        with (self.folder / f"{phase}_{self.global_rank}").open("a") as file:
            file.writelines(f"{name}\n" for name in batch["name"])

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.record(f"train{self.current_epoch}", batch)
        return self.weight * batch["image"].mean()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.record("val", batch)

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        self.record("test", batch)

    def teardown(self, stage: str) -> None:
        self.trainer.strategy.barrier()  # gloo aborts a process whose peer has gone first

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def seen(folder: Path, phase: str, ranks: int) -> list[list[str]]:
    return [(folder / f"{phase}_{rank}").read_text().split() for rank in range(ranks)]


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path, cache: Path) -> None:
    ranks = 2
    root, record = write_root(tmp_path / "data", train=40, test=7), tmp_path / "seen"
    record.mkdir()
    data = COSDataModule(
        root,
        ["MINE"],
        ["MINE"],
        image_size=32,
        batch_size=2,
        num_workers=0,
        val_fraction=0.2,
        augmentation=paper_recipe,
        cache=True,
    )
    trainer = L.Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp_fork", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, num_sanity_val_steps=0, check_val_every_n_epoch=2,
    )  # fmt: skip
    module = Recorder(record)
    trainer.fit(module, data)
    trainer.test(module, data, verbose=False)
    data.setup("fit")
    counts = data.describe()
    # evaluation: each once, whatever the number of processes
    for phase, number in (("val", counts["val_images"]), ("test", 7)):
        together = [name for part in seen(record, phase, ranks) for name in part]
        assert len(together) == len(set(together)) == number
    # training: no process sees another's samples; whole batches only
    epochs = [seen(record, f"train{epoch}", ranks) for epoch in range(2)]
    for parts in epochs:
        assert len({len(part) for part in parts}) == 1
        assert max(Counter(name for part in parts for name in part).values()) == 1
    assert epochs[0] != epochs[1]
    assert len(list((cache / "images").iterdir())) == 1


def open_files(pid: int | str = "self") -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def megabytes(pid: int | str = "self") -> float:
    match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(match.group(1)) / 1024 if match else 0.0


@pytest.mark.slow
@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_grows_over_epochs(tmp_path: Path, cached: bool, workers: int) -> None:
    """24 images of 0.4 MB: leaking every image of five epochs would be 46 MB, or 120 open handles."""
    write_scenes(tmp_path / "TrainDataset" / "MINE", 24, "n", size=(320, 400))
    data = COSDataModule(
        tmp_path,
        ["MINE"],
        [],
        image_size=96,
        batch_size=4,
        num_workers=workers,
        val_fraction=0.2,
        augmentation=paper_recipe,
        cache=cached,
    )
    data.prepare_data()
    data.setup("fit")
    assert all(source._opened() is not None for source in data.folders.cached) and len(data.folders.cached) == cached  # noqa: PT018
    train, val = data.train_dataloader(), data.val_dataloader()
    marks = []
    for epoch in range(8):
        train.sampler.set_epoch(epoch)  # type: ignore[union-attr]
        for loader in (train, val):
            for batch in loader:
                del batch
        gc.collect()
        pids = ["self", *([worker.pid for worker in train._iterator._workers] if workers else [])]  # type: ignore[union-attr]
        marks.append([(open_files(pid), megabytes(pid)) for pid in pids])
    for i, (early, late) in enumerate(zip(marks[2], marks[-1], strict=True)):
        # A leak stays open: a pipe that is open for a moment is not seen in every one of the last epochs.
        assert min(mark[i][0] for mark in marks[-3:]) <= early[0]
        assert late[1] - early[1] < 30


def test_a_pickled_cache_opens_its_own_file(tmp_path: Path) -> None:
    write_scenes(tmp_path / "TrainDataset" / "MINE", 4, "n")
    data = COSDataModule(tmp_path, ["MINE"], [], image_size=32, batch_size=2, num_workers=0, val_fraction=0, cache=True)
    data.prepare_data()
    data.setup("fit")
    (source,) = data.folders.cached
    assert isinstance(source, Cached)
    before = open_files()
    for _ in range(5):
        _ = [source[i] for i in range(4)]
    assert open_files() - before <= 1
