"""Store what Lightning's checkpoints lack: random states, and the sums behind an unfinished epoch's means."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from src.utils.private import epoch_results, forget_computed


class ExactResume(Callback):
    """Make a resumed training equal an uninterrupted one: same random numbers and epoch means, on every rank."""

    def __init__(self) -> None:
        self._random: dict[str, Any] = {}
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Store the random states and the unfinished epoch sums of every rank."""
        own = {"random": random_states(pl_module.device), "sums": _epoch_sums(trainer)}
        ranks = [own] * trainer.world_size
        if dist.is_initialized():
            dist.all_gather_object(ranks, own)
        checkpoint["exact_resume"] = ranks

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read this rank's states; warn if the number of processes has changed."""
        ranks = checkpoint.get("exact_resume", [])
        if len(ranks) != trainer.world_size:
            rank_zero_warn(
                f"random states are not restored: the checkpoint has those of {len(ranks)} processes, "
                f"this run has {trainer.world_size}"
            )
            return
        own = ranks[trainer.global_rank]
        self._random, self._sums = own["random"], dict(own["sums"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Restore the random states."""
        if self._random:
            set_random_states(self._random, pl_module.device)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add the stored epoch sums to the metrics that the first batch has logged."""
        if not self._sums:
            return
        results = epoch_results(trainer)
        for key in self._sums.keys() & results.keys():  # added after the first batch: b + s has the same bits as s + b
            value, count = self._sums.pop(key)
            metric = results[key]
            metric.value, metric.cumulated_batch_size = metric.value + value, metric.cumulated_batch_size + count
            forget_computed(metric)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Discard stored sums that no metric has used: they belong to the epoch that ends."""
        self._sums = {}


def random_states(device: torch.device) -> dict[str, Any]:
    """Return the states of the global random generators as plain values and tensors."""
    numpy_state = np.random.get_state(legacy=True)  # noqa: NPY002 (users' losses may draw from the global generator)
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": [numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]],  # type: ignore[index]
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_random_states(states: dict[str, Any], device: torch.device) -> None:
    """Restore what `random_states` returned."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    name, key, *rest = states["numpy"]
    np.random.set_state((name, np.array(key, np.uint32), *rest))  # noqa: NPY002
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def _epoch_sums(trainer: Trainer) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the sum and count behind every running mean of the epoch; empty once all its batches are done."""
    if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
        return {}
    means = {
        key: metric
        for key, metric in epoch_results(trainer).items()
        if metric.is_tensor and metric.meta.on_epoch and metric.meta.is_mean_reduction
    }
    return {
        key: (metric.value.detach().cpu().clone(), metric.cumulated_batch_size.cpu().clone())
        for key, metric in means.items()
        if metric.cumulated_batch_size > 0
    }
