"""Stop when the validation no longer improves, and stay stopped."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch import callbacks
from lightning.pytorch.utilities import rank_zero_warn


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's early stopping, except that a stopped run stays stopped when it is resumed.

    A run whose patience is used up trains no further epoch, unless it is resumed with a larger ``patience``.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, but keep the patience of this run's configuration."""
        super().load_state_dict(state_dict | {"patience": self.patience})  # Lightning would restore the old one

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Stop before the first epoch if the patience was used up when the run ended."""
        if self.wait_count >= self.patience:
            rank_zero_warn(
                "nothing is left to train: early stopping ended this run; "
                "a larger callbacks.early_stopping.patience trains on"
            )
            trainer.should_stop = True
