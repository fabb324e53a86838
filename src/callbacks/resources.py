"""What an epoch costs: seconds of training and the peak of memory, logged beside the losses."""

from __future__ import annotations

import resource
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Resources(Callback):
    """Logs ``epoch_seconds`` (training only), ``images_per_second`` and ``peak_gib`` (GPU memory, on a CPU resident memory)."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start = time.perf_counter()
        self._images = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: dict, batch_idx: int) -> None:
        self._images += len(batch["name"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seconds = time.perf_counter() - self._start
        pl_module.log("epoch_seconds", seconds)
        pl_module.log("images_per_second", self._images * trainer.world_size / seconds)
        pl_module.log("peak_gib", _peak_gib(pl_module.device))


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
