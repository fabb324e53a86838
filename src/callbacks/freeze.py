"""Freeze the encoder for the first epochs, to protect its weights from the large gradients of a new decoder."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from src.utils.errors import UserError


class FreezeEncoder(Callback):
    """Trains everything but ``net.encoder`` for the first ``epochs`` epochs, then everything.

    While frozen, weights and BatchNorm statistics of the encoder do not change: it is in evaluation mode, and the
    optimiser skips parameters without a gradient and keeps no state for them. What is frozen depends on the epoch
    alone, so a resumed training equals an uninterrupted one.

    Args:
        epochs: number of epochs with a frozen encoder, at least 1.

    Raises:
        UserError: fewer than one epoch.
    """

    def __init__(self, epochs: int) -> None:
        if epochs < 1:
            raise UserError(
                f"callbacks.freeze.epochs={epochs}: must be 1 or more; "
                "callbacks.freeze=null trains everything from the start"
            )
        self.epochs = epochs

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze when the training begins."""
        self._set(trainer, pl_module)  # Lightning skips on_train_epoch_start in an epoch resumed in its middle

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Freeze or unfreeze for the epoch."""
        self._set(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the frozen encoder in evaluation mode."""
        if self._is_frozen(trainer):  # Lightning sets the whole network's mode after a validation
            _encoder(pl_module).eval()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Drop the frozen encoder's gradients."""
        # Only several processes have such gradients: DDP needs one for every weight that will ever be trained.
        if self._is_frozen(trainer):
            for parameter in _encoder(pl_module).parameters():
                parameter.grad = None

    def _set(self, trainer: Trainer, pl_module: LightningModule) -> None:
        frozen = self._is_frozen(trainer)
        _encoder(pl_module).train(not frozen)
        if trainer.world_size == 1:
            _encoder(pl_module).requires_grad_(not frozen)

    def _is_frozen(self, trainer: Trainer) -> bool:
        return trainer.current_epoch < self.epochs


def _encoder(module: LightningModule) -> nn.Module:
    encoder: Any = module.net.encoder  # type: ignore[union-attr]
    return encoder
