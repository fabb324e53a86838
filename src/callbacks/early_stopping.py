"""Stop when the validation no longer improves, and stay stopped."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch import callbacks


class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, but a run whose patience is spent trains no further epoch when it is resumed, unless with more ``patience``."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict | {"patience": self.patience})  # Lightning would take the old one

    def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
