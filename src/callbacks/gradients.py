"""Log the gradient's norm, and end the training with evidence on disk when a loss or gradient is not finite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from src.utils.errors import UserError
from src.utils.private import accumulates


class Gradients(Callback):
    """Logs gradient norms, and stops the training at the first loss or gradient that is NaN or infinite.

    ``gradient_norm`` is the L2 norm before clipping, averaged over the epoch; ``gradient/PART`` is that of each part.

    The first value that is not finite raises a UserError that names the images, before the optimiser's step changes the
    weights. ``nonfinite.pt`` in ``dirpath`` is then a checkpoint of that moment
    (`src.checkpoints.reading.read_checkpoint`) that also holds the batch, under ``batch``.
    """

    def __init__(self, dirpath: str) -> None:
        self.path = Path(dirpath) / "nonfinite.pt"
        self._batches: list[dict[str, Any]] = []
        self._guilty = False

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], batch_idx: int
    ) -> None:
        """Keep the batch, to store it if its loss is not finite."""
        self._batches.append(batch)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss."""
        self._batches = self._batches[-1:] if not torch.isfinite(loss) else self._batches
        self._check("loss", loss, trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log the gradient norms and check the total norm."""
        norms = gradient_norms(pl_module.net)  # type: ignore[arg-type]
        norm = torch.stack(list(norms.values())).norm()
        pl_module.log("gradient_norm", norm, on_step=False, on_epoch=True, batch_size=1)
        pl_module.log_dict(
            {f"gradient/{part}": value for part, value in norms.items()}, on_step=False, on_epoch=True, batch_size=1
        )
        # fp16's gradient scaler expects infinities and skips those steps.
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            self._check("gradient", norm, trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Drop the batches once the optimiser has used their gradients."""
        if not accumulates(trainer):
            self._batches = []

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the batches to the checkpoint that is written for a value that is not finite."""
        if self._guilty:
            checkpoint["batch"] = self._batches

    def _check(self, what: str, value: Tensor, trainer: Trainer) -> None:
        own = not bool(torch.isfinite(value))
        if not trainer.strategy.reduce_boolean_decision(own, all=False):
            return
        names = [name for batch in self._batches for name in batch["name"]] if own else []
        if dist.is_initialized():
            ranks: list[list[str]] = [[]] * trainer.world_size
            dist.all_gather_object(ranks, names)
            names = [name for rank in ranks for name in rank]
        self._guilty = True
        trainer.save_checkpoint(self.path)
        raise UserError(
            f"the {what} is not finite in epoch {trainer.current_epoch}, step {trainer.global_step}, "
            f"with these images; weights (before the step), optimiser and batch are in {self.path}; "
            "a lower model.optimizer.lr often helps:",
            names,
        )


def gradient_norms(net: nn.Module) -> dict[str, Tensor]:
    """Return the L2 norm of the gradient of every part of ``net``.

    A part is a direct child, or an element of a child that is a list of modules (``state_spaces_0``, …).
    """
    gradients: dict[str, list[Tensor]] = {}
    for name, parameter in net.named_parameters():
        child, _, rest = name.partition(".")
        is_list = isinstance(getattr(net, child), (nn.ModuleList, nn.ParameterList))
        part = f"{child}_{rest.partition('.')[0]}" if is_list else child
        if parameter.grad is not None:
            gradients.setdefault(part, []).append(parameter.grad)
    return {part: get_total_norm(found) for part, found in gradients.items()}
