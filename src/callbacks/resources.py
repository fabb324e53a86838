"""Log what an epoch costs: seconds of training, images per second and peak memory."""

from __future__ import annotations

import resource
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Resources(Callback):
    """Logs ``epoch_seconds`` and ``images_per_second`` of training without validation, and ``peak_gib``.

    In a resumed epoch they cover the part since the resume. The peak is the GPU's memory; on a CPU it is the resident
    memory of this process, without its data-loading workers.
    """

    def __init__(self) -> None:
        self.images_per_second = 0.0
        """Speed of the current epoch, over all devices."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock, also in an epoch that is resumed in its middle."""
        self.on_train_epoch_start(trainer, pl_module)  # Lightning skips this hook in a resumed epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()
        self._images = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: dict, batch_idx: int
    ) -> None:
        """Count the images and the seconds so far."""
        self._images += len(batch["name"])
        self._seconds = time.perf_counter() - self._start  # not in on_train_epoch_end, which follows the validation
        self.images_per_second = self._images * trainer.world_size / self._seconds

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log seconds, images per second and peak memory of the epoch."""
        pl_module.log("epoch_seconds", self._seconds)
        pl_module.log("images_per_second", self.images_per_second)
        pl_module.log("peak_gib", _peak_gib(pl_module.device))


def _peak_gib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
