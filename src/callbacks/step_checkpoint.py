"""Checkpoints in the middle of an epoch: every n optimiser steps, and when the training is asked to stop."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from src.distributed.signals import Interrupted, StopRequest
from src.utils.errors import UserError
from src.utils.private import accumulates

FILE = "step.ckpt"


class StepCheckpoint(Checkpoint):
    """Writes ``step.ckpt`` every ``every_n_steps`` optimiser steps, and removes it when the training is complete.

    Nothing is written after the last step of an epoch, because the epoch's own checkpoint follows: a training resumed
    between the two would miss the epoch's validation.

    Args:
        dirpath: folder of the checkpoint.
        every_n_steps: optimiser steps between two checkpoints, at least 1.

    Raises:
        UserError: ``every_n_steps`` is below 1.
    """

    def __init__(self, dirpath: str, every_n_steps: int) -> None:
        if every_n_steps < 1:
            raise UserError(
                f"callbacks.step.every_n_steps={every_n_steps}: must be 1 or more; "
                "callbacks.step=null writes no step.ckpt"
            )
        self.path = Path(dirpath) / FILE
        self.every_n_steps = every_n_steps
        self._saved = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the checkpoint every ``every_n_steps`` optimiser steps."""
        step = trainer.global_step
        if between_steps(trainer) and step % self.every_n_steps == 0 and step != self._saved:
            self._saved = step
            trainer.save_checkpoint(self.path)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the checkpoint: ``last.ckpt`` is newer."""
        if trainer.is_global_zero:
            self.path.unlink(missing_ok=True)


class StopWhenAsked(Checkpoint):
    """Answers a `StopRequest` with a checkpoint and `Interrupted`, on all ranks as soon as one of them was asked.

    In the middle of an epoch it stops after the current step. A running validation is finished first, because its epoch
    ends with a checkpoint.
    """

    def __init__(self, dirpath: Path, request: StopRequest) -> None:
        self.path = dirpath / FILE
        self.request = request

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals again, after Lightning has installed its own handler."""
        # Lightning's handler would wait for the end of the epoch, and communicate with other ranks immediately.
        self.request.listen()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen for signals again, after Lightning has installed its own handler."""
        self.request.listen()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write a checkpoint and stop between two optimiser steps, if asked."""
        if between_steps(trainer) and self._asked(trainer):
            trainer.save_checkpoint(self.path)
            self._stop()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write a checkpoint, if asked; the stop follows once the epoch is logged."""
        if self._asked(trainer):
            trainer.save_checkpoint(self.path)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop before the next epoch, if asked."""
        if self._asked(trainer):  # not in on_train_epoch_end: the epoch's means are logged after it
            self._stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after the last epoch, if asked."""
        if self._asked(trainer):
            self._stop()

    def _asked(self, trainer: Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self.request.signum is not None, all=False)

    def _stop(self) -> None:
        raise Interrupted(self.request.signum or signal.SIGTERM)


def between_steps(trainer: Trainer) -> bool:
    """Return whether a training that stops here, at the end of a batch, can be resumed.

    It can if no accumulated gradients wait for the optimiser and the epoch has batches left.
    """
    return not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch and not accumulates(trainer)
