"""Lightning's progress bar, with images per second and the remaining time of the whole training."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from rich.progress import BarColumn, ProgressColumn, TimeRemainingColumn

from src.callbacks.resources import Resources
from src.utils.private import keep_on_one_line

NAMES = {"s_alpha": "S_α", "mae": "MAE", "reconstruction": "recon", "background": "back"}


class ProgressBar(RichProgressBar):
    """Lightning's progress bar with the figures of the whole training.

    It shows epoch, batches and the remaining time of the epoch; images per second, ETA of the training, loss and its
    terms, S_α and MAE of the hold-out. From 140 columns on it takes one line; in a narrower terminal the figures
    continue on the next line.
    """

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        """Return the description, the bar, the batches and the time left."""
        words, _bar, batches, *_ = super().configure_columns(trainer)
        theme = self.theme
        bar = BarColumn(12, complete_style=theme.progress_bar, finished_style=theme.progress_bar_finished)
        left = TimeRemainingColumn(compact=True, elapsed_when_finished=True)
        for column in (words, bar, batches, left):  # only the figures may continue on a second line
            keep_on_one_line(column)
        return [words, bar, batches, left]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        super().on_train_start(trainer, pl_module)
        self._start, self._done = time.perf_counter(), _epochs_done(trainer)

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """Return the figures shown after the bar."""
        figures: dict[str, Any] = {}
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            speed = next(
                (callback.images_per_second for callback in trainer.callbacks if isinstance(callback, Resources)),  # type: ignore[attr-defined]
                0.0,
            )
            figures = {"img/s": f"{speed:.1f}"} if speed else {}
            left = self._seconds_left(trainer)
            figures |= {} if left is None else {"ETA": str(timedelta(seconds=round(left)))}
        found = super().get_metrics(trainer, pl_module)
        return figures | {NAMES.get(name, name): value for name, value in found.items() if name != "v_num"}

    def _seconds_left(self, trainer: Trainer) -> float | None:
        """Return the remaining seconds at the pace so far, validation included; None if the end is not known."""
        done = _epochs_done(trainer)
        if not trainer.max_epochs or trainer.max_epochs < 0 or done <= self._done:
            return None
        return (trainer.max_epochs - done) * (time.perf_counter() - self._start) / (done - self._done)


def _epochs_done(trainer: Trainer) -> float:
    batches = float(trainer.num_training_batches)
    return trainer.current_epoch + (
        trainer.fit_loop.epoch_loop.batch_progress.current.completed / batches if batches else 0.0
    )
