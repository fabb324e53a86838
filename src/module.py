"""COSModule: one training, validation and test step of any concealed-object segmentation network."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from src.losses import StagewiseLoss
from src.metrics import COSMetrics
from src.models.diagnostics import mask_step_gains, unfolding_values
from src.models.outputs import MaskOutput, RUNOutput, maps_at_size, masks_at_size, stage_logits
from src.models.wrappers import memory_format
from src.prompting import Seen, told, trained_on
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer
from src.scoring.scores import SetScores
from src.utils.errors import Problems, UserError
from src.utils.revision import FORMAT

Output = RUNOutput | MaskOutput
SELECTS_ON = "selects_on"
"""Key of a checkpoint: what the training selects its best weights on.

What exactly these weights were selected on is added when the file is written.
"""


class COSModule(LightningModule):
    """Steps, optimiser and logging. The network is ``net``; its computation is defined in ``src/models``.

    Args:
        net: ``net(image)`` returns an object with ``mask_logits``, and stages if it has any.
        loss: ``loss(output, image, mask, progress)`` returns its terms and their sum ``loss``; ignored pixels come as
            ``valid``.
        optimizer: partial of a torch optimiser.
        scheduler: partial of a scheduler or None; one that takes ``total_steps`` is stepped after every batch, any
            other after every epoch.
        metrics: the measures of validation and test.
        unfolding_lr_scale: learning rate of the network's ``unfolding_parameters()`` as a multiple of the others'.
        encoder_lr_scale: learning rate of the network's ``encoder`` as a multiple of the others'; None: 1.

    Attributes:
        config: plain dict of the run's resolved configuration; travels in every checkpoint.
        scorer: scores the maps of a test; None: a scorer without workers is made. `src.eval` sets one with workers.
        selection: what the weights were selected on, in words; empty: on nothing; None: their file does not say.
        prompts: kind of prompts that a test makes from the ground truth (`src.prompting.check_kind`); None: none.
        clicks: test set → number of corrective clicks per mask (`src.prompting.Clicked`), in tests with clicks.
        test_results: test set → stage name (``M_0`` …, the last is the final mask) → its scores.
    """

    def __init__(
        self,
        net: nn.Module,
        loss: StagewiseLoss,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
        metrics: COSMetrics | None = None,
        unfolding_lr_scale: float = 10.0,
        encoder_lr_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.net = net.to(memory_format=memory_format(net))  # channels last is twice as fast on a CPU
        self.loss = loss
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.unfolding_lr_scale, self.encoder_lr_scale = unfolding_lr_scale, encoder_lr_scale
        self.val_metrics = metrics if metrics is not None else COSMetrics()
        self.config: dict[str, Any] = {}
        self.selection: str | None = None
        self.scorer: MapScorer | None = None
        self.prompts: str | None = None
        self.clicks: dict[str, list[int]] = {}
        self.test_results: dict[str, dict[str, SetScores]] = {}
        self._gains: list[Tensor] = []
        self._learning_rate: float | None = None

    def forward(self, image: Tensor) -> Output:
        """Return the network's output for images (N,3,H,W), RGB in [0,1]."""
        output: Output = self.net(image.contiguous(memory_format=memory_format(self.net)))
        return output

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Return the loss of a batch and log its terms."""
        has_prompts = "prompt_target" in batch
        seen = trained_on(self.net, batch) if has_prompts else Seen.without_prompts(self(batch["image"]), batch)
        ignored = {} if seen.valid is None else {"valid": seen.valid}
        # Logged at the epoch's end, where a schedule by epochs has moved on already.
        self._learning_rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        steps = self.trainer.estimated_stepping_batches
        progress = self.trainer.global_step / max(1.0, float(steps))
        terms = self.loss(seen.output, seen.image, seen.target, progress, **ignored)
        size = len(batch["image"])
        shown = terms if len(terms) > 2 else {"loss": terms["loss"]}  # a single term equals the loss
        self.log_dict({k: v.detach() for k, v in shown.items()}, prog_bar=True, logger=False, batch_size=size)
        self.log_dict(
            {f"train/{k}": v.detach() for k, v in terms.items()},
            on_step=False,
            on_epoch=True,
            batch_size=size,
            sync_dist=True,
        )
        return terms["loss"]

    def on_train_epoch_end(self) -> None:
        """Log the last step's learning rate, and the numbers of the unfolding (not of averaged weights)."""
        if self._learning_rate is not None:  # None: resumed after the epoch's last step
            self.log("learning_rate", self._learning_rate)
        for name, value in unfolding_values(self.net).items():
            self.log(f"unfolding/{name}", value)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Add a batch to the measures and to the gains of the mask steps."""
        output = self(batch["image"])
        self.val_metrics.update(masks_at_size(output.mask_logits, batch["mask"]), batch["mask"], batch.get("valid"))
        gains = mask_step_gains(output, batch["mask"], batch.get("valid"))
        self._gains.append(torch.stack([*gains, torch.ones((), device=self.device)]) * len(batch["image"]))

    def on_validation_epoch_end(self) -> None:
        """Log the measures and gains of the hold-out."""
        # Not by `sync_dist`: Lightning divides the number of images by that of the processes, and rounds it down.
        *gains, count = self.trainer.strategy.reduce(torch.stack(self._gains).sum(0), reduce_op="sum")
        self._gains = []
        self.log_dict({f"val/gain_{k}": gain / count for k, gain in enumerate(gains, start=1)})
        scores = _scalars(self.val_metrics.compute())
        self.val_metrics.reset()
        self.log_dict({f"val/{name}": value for name, value in scores.items()})
        self.log_dict({name: scores[name] for name in ("s_alpha", "mae")}, prog_bar=True, logger=False)

    def on_test_start(self) -> None:
        """Make a scorer, unless the caller has set one."""
        self.test_results, self.clicks = {}, {}
        if self.scorer is None:
            self.scorer = MapScorer(self.val_metrics.protocol, self.val_metrics.extra, WorkerPool(0))

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Hand the masks of all stages of a batch to the scorer."""
        assert self.scorer is not None
        dataset = self.trainer.datamodule.test_names[dataloader_idx]  # type: ignore[attr-defined]
        with self.trainer.profiler.profile("network"):  # type: ignore[attr-defined]
            output = self(batch["image"]) if self.prompts is None else self._told(dataset, batch, self.prompts)
        stages = stage_logits(output)
        valid = batch.get("valid") or [None] * len(batch["name"])
        for i, (image, target) in enumerate(zip(batch["name"], batch["mask"], strict=True)):
            own = {name: logits[i : i + 1] for name, logits in stages.items()}
            self.scorer.add(dataset, image, partial(maps_at_size, own, target), target, valid[i])

    def _told(self, dataset: str, batch: dict[str, Any], kind: str) -> Output:
        """Return the network's output for a batch with prompts, and keep how many clicks it needed."""
        output, needed = told(self.net, batch, kind)
        if needed:
            self.clicks.setdefault(dataset, []).extend(needed)
        return output

    def on_test_epoch_end(self) -> None:
        """Keep the scores in ``test_results`` and log those of the final masks."""
        assert self.scorer is not None
        self.test_results, self.scorer = self.scorer.results(), None
        for dataset, stages in self.test_results.items():
            final = list(stages.values())[-1]
            self.log_dict({f"test/{dataset}/{measure}": value for measure, value in final.scalars.items()})
        for dataset, needed in self.clicks.items():
            self.log(f"test/{dataset}/noc_80", sum(needed) / len(needed))

    def check_optimizer(self) -> None:
        """Raise a UserError for what the optimiser refuses, before any work."""
        problems, scale = Problems(), self.encoder_lr_scale
        if scale is not None and not scale > 0:
            problems.append(f"model.encoder_lr_scale={scale:g}: must be above 0")
        if scale is not None and not hasattr(self.net, "encoder"):
            problems.append(f"model.encoder_lr_scale={scale:g}: this network has no encoder; leave it out")
        else:
            try:
                self.make_optimizer(self._parameter_groups())
            except (ValueError, TypeError) as error:
                problems.append(f"model.optimizer: {error}")
        problems.raise_all()

    def configure_optimizers(self) -> Any:
        """Return the optimiser and its scheduler, stepped per batch if it knows the total number of steps."""
        optimizer = self.make_optimizer(self._parameter_groups())
        if self.make_scheduler is None:
            return {"optimizer": optimizer}
        if "total_steps" in inspect.signature(self.make_scheduler).parameters:
            if math.isinf(self.trainer.estimated_stepping_batches):
                raise UserError(
                    "trainer.max_epochs=-1: this scheduler must know the end; give a number, or take scheduler=step"
                )
            scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "epoch"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the configuration, the format's version, and what this training selects its best weights on."""
        checkpoint["config"] = self.config | {"format": FORMAT}
        data = getattr(self.trainer, "datamodule", None)
        checkpoint[SELECTS_ON] = data.selected_on() if data is not None else ""

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's groups.

        The few unfolding parameters have a rate of their own and no weight decay; the encoder is a group of its own
        where its rate differs.
        """
        unfolding = list(getattr(self.net, "unfolding_parameters", list)())
        own_rate = self.encoder_lr_scale is not None
        pretrained = list(self.net.get_submodule("encoder").parameters()) if own_rate else []
        apart = {id(parameter) for parameter in (*unfolding, *pretrained)}
        groups: list[dict[str, Any]] = [{"params": [p for p in self.parameters() if id(p) not in apart]}]
        if unfolding or pretrained:
            lr = inspect.signature(self.make_optimizer).parameters["lr"].default
        if unfolding:
            groups.append({"params": unfolding, "lr": self.unfolding_lr_scale * lr, "weight_decay": 0.0})
        if pretrained:
            groups.append({"params": pretrained, "lr": self.encoder_lr_scale * lr})
        return groups


def _scalars(scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in scores.items() if value.ndim == 0}
