"""Callbacks that tests hand to trainings in several processes, by their names in the configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch.nn.modules.batchnorm import _BatchNorm

from src.utils.errors import UserError


class FrozenNorm(Callback):
    """BatchNorm by its running statistics: what an image gives does not depend on the others of its batch."""

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for layer in pl_module.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()


class Recorder(Callback):
    """Writes the loss and the images of every step, and the scores and images of every validation, over all processes."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.steps: list[dict[str, Any]] = []
        self.validations: list[dict[str, Any]] = []
        self._names: list[str] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps.append({"loss": [float(outputs["loss"])], "names": list(batch["name"])})

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any) -> None:
        self._names += batch["name"]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        scores = {name: [float(value)] for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        self.validations.append({"names": self._names, **scores})
        self._names = []

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        ranks: list[Any] = [(self.steps, self.validations)] * trainer.world_size
        if dist.is_initialized():
            dist.all_gather_object(ranks, (self.steps, self.validations))
        if trainer.is_global_zero:
            joined = [[_join(parts) for parts in zip(*kind, strict=True)] for kind in zip(*ranks, strict=True)]
            self.path.write_text(json.dumps({"steps": joined[0], "validations": joined[1]}), encoding="utf-8")


class Fails(Callback):
    """The process of this rank meets a broken input in the first step."""

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_rank == self.rank:
            raise UserError(f"broken.jpg cannot be read by rank {self.rank}")


def _join(parts: tuple[dict[str, list[Any]], ...]) -> dict[str, list[Any]]:
    return {key: [value for part in parts for value in part[key]] for key in parts[0]}
