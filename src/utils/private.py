"""Every private attribute of another library that this project uses, in one place: releases may change them silently.

`TOUCHED` lists them, and `tests/utils/test_private.py` reports those that an installed version no longer has. Libraries
are imported inside the functions, so that a command that only reports a mistake does not load them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from lightning.pytorch.loggers import WandbLogger
    from omegaconf import Container
    from rich.progress import ProgressColumn
    from torch import Tensor
    from torchmetrics import Metric

TOUCHED = {
    "lightning.pytorch.loggers.wandb.WandbLogger": ("_wandb_init", "_checkpoint_name", "_scan_and_log_checkpoints"),
    "lightning.pytorch.loops.training_epoch_loop._TrainingEpochLoop": ("_results", "_should_accumulate"),
    "lightning.pytorch.trainer.connectors.logger_connector.result._ResultMetric": ("_computed",),
    "multiprocessing.queues.Queue": ("_on_queue_feeder_error",),
    "numba.core.registry.CPUDispatcher": ("_cache",),
    "omegaconf.basecontainer.BaseContainer": ("_get_root",),
    "rich.progress.ProgressColumn": ("_table_column",),
    "torch": ("_check", "_nnpack_available", "_nnpack_spatial_convolution"),
    "torch.autograd.forward_ad": ("_current_level",),
    "torch._C._functorch": ("peek_interpreter_stack",),
    "torch._subclasses.fake_tensor": ("FakeTensorMode",),
    "torchmetrics.Metric": ("_apply", "_is_synced"),
}
"""Class or module → its attributes. `_scan_and_log_checkpoints` is overridden in `Wandb`, `_apply` in `COSMetrics`."""


def transformed_convolution(image: Tensor, weight: Tensor, bias: Tensor | None, padding: int) -> Tensor:
    """Return the convolution of one image, (1,C,H,W), by NNPACK's Fourier transforms of tiles."""
    import torch

    return torch._nnpack_spatial_convolution(image, weight, bias, padding)


def can_transform() -> bool:
    """Return whether this processor and this build of torch support NNPACK."""
    import torch

    return torch._nnpack_available()


def root_of(node: Container) -> Container:
    """Return the configuration that a node is part of."""
    return node._get_root()


def accumulates(trainer: Trainer) -> bool:
    """Return whether the gradients of the last batch are kept for a later optimiser step."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def epoch_results(trainer: Trainer) -> Mapping[str, Any]:
    """Return what the training logs in this epoch: key → the metric that averages it."""
    return trainer.fit_loop.epoch_loop._results


def forget_computed(metric: Metric) -> None:
    """Make a metric recompute its value, because its state was changed from outside."""
    metric._computed = None


def is_synced(metric: Metric) -> bool:
    """Return whether a metric's state is the one of all processes together."""
    return metric._is_synced


def keep_on_one_line(column: ProgressColumn) -> None:
    """Never wrap a column of a progress bar that a library made."""
    from rich.table import Column

    column._table_column = Column(no_wrap=True)


def without_anonymous(logger: WandbLogger) -> None:
    """Remove Lightning's argument ``anonymous`` of `wandb.init`: W&B warns about it."""
    del logger._wandb_init["anonymous"]


def name_artifact(logger: WandbLogger, name: str) -> None:
    """Set the name of the artifact that the next checkpoint is uploaded to."""
    logger._checkpoint_name = name


def in_transform() -> bool:
    """Return whether this runs inside forward-mode differentiation or a `torch.func` transform."""
    import torch
    from torch.autograd import forward_ad

    return forward_ad._current_level >= 0 or torch._C._functorch.peek_interpreter_stack() is not None


def assume(condition: Any) -> None:
    """Tell `torch.export` that a condition on symbolic sizes holds."""
    import torch

    torch._check(condition)


def fake_tensors() -> AbstractContextManager[Any]:
    """Return a context in which tensors have shapes but no values: operations can be counted without being done."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)


def drop_compiled(function: Any) -> None:
    """Delete the compiled code of a function from Numba's cache on disk."""
    function._cache.flush()


def wrap_saving(function: Any, wrap: Callable[[Callable[..., None]], Callable[..., None]]) -> None:
    """Replace the method that writes a function's compiled code to Numba's cache by ``wrap`` of it."""
    function._cache.save_overload = wrap(function._cache.save_overload)


def on_lost_item(handler: Callable[[Exception, Any], None]) -> None:
    """Call ``handler(error, item)`` if a queue of this process cannot send an item; by default it only prints that."""
    from multiprocessing.queues import Queue

    Queue._on_queue_feeder_error = staticmethod(handler)  # type: ignore[attr-defined]
