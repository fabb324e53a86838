"""How the time of a training or a test divides: waiting for data, the network, and the rest."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

import lightning as L
import torch
from lightning.pytorch.profilers import PassThroughProfiler
from omegaconf import DictConfig

from src.cli.command import console

EPOCH, NETWORK = "run_training_epoch", "network"
TRAIN_DATA, VAL_DATA, TEST_DATA = ".train_dataloader_next", ".val_next", ".test_next"
LAST_SCORES = ".on_test_epoch_end"


class Clock(PassThroughProfiler):
    """Adds up the seconds of the actions that Lightning, and `COSModule`, report to the trainer's profiler.

    A loop waits for data from asking for a batch until it has it. In a training, what comes before the first epoch does
    not count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._begun: dict[str, float] = {}

    def start(self, action_name: str) -> None:
        """Start an action."""
        if action_name == EPOCH and EPOCH not in self._seconds:
            self._seconds.clear()  # of the sanity check
        self._begun[action_name] = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Add the seconds of an action; on a GPU the network has ended then."""
        if action_name == NETWORK and torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._seconds[action_name] += time.perf_counter() - self._begun[action_name]

    def seconds(self, ending: str) -> float:
        """Return the seconds of all actions whose names end like this."""
        return sum(seconds for name, seconds in self._seconds.items() if name.endswith(ending))

    def of_training(self) -> str:
        """Return, in words, which share of the seconds of its epochs a training has waited for data."""
        whole, training, validation = (self.seconds(name) for name in (EPOCH, TRAIN_DATA, VAL_DATA))
        waited = f"training {training:.1f} s, validation {validation:.1f} s"
        return f"waited for data: {percent(training + validation, whole)} of {whole:.1f} s ({waited})"

    def of_test(self, whole: float) -> str:
        """Return, in words, how the ``whole`` seconds of a test divide."""
        network, data, scores = (self.seconds(name) for name in (NETWORK, TEST_DATA, LAST_SCORES))
        rest = f"waiting for data {percent(data, whole)}, for the last scores {percent(scores, whole)}"
        return f"the network's share of the test: {percent(network, whole)} of {whole:.1f} s ({rest})"


def clock_for(trainer_cfg: DictConfig) -> dict[str, Clock]:
    """Return a clock as the argument ``profiler`` of a trainer; nothing if its settings have a profiler."""
    return {} if trainer_cfg.get("profiler") else {"profiler": Clock()}


def report(trainer: L.Trainer, words: Callable[[Clock], str]) -> None:
    """Print what the trainer's clock says, in the first process; nothing with another profiler (`clock_for`)."""
    clock = trainer.profiler  # type: ignore[attr-defined]
    if isinstance(clock, Clock) and trainer.is_global_zero:
        console().print(words(clock), highlight=False)


def percent(part: float, whole: float) -> str:
    """Return a share in words, such as `3.2 %`."""
    return f"{100 * part / whole if whole else 0:.1f} %"
