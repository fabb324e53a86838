"""The measures of concealed object segmentation over a data set, as one torchmetrics metric."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from src.metrics.checks import Map, Maps, Validity, check_extra, check_protocol, check_workers, checked_maps
from src.metrics.registry import STANDARD
from src.metrics.score_map import CURVES, OF_CURVES, score_all
from src.utils.errors import UserError
from src.utils.private import is_synced


class COSMetrics(Metric):
    """Means over images of every measure of `MEASURES`: MAE, S_α, E_φ, F_β, weighted F_β, IoU, Dice, SE, SP, ACC, BER.

    Args:
        protocol: `field` (8-bit rounding, then min–max per map, as the field's toolbox), `raw` (as given) or `released`
            (as the authors of RUN test); see `functional.prepare`.
        extra: names of slow measures to add, of `EXTRAS`: auc, boundary_iou, ms_iou, hce, context, context_weighted.
        workers: threads that share the maps of one `update`.

    One instance scores one kind of map: an unfolded network keeps one instance per stage (`copy.deepcopy` of an empty
    metric makes another).

    The states are a count and float64 sums of fixed shape. The sums over all ranks are therefore those of a single
    process, however many images each rank saw. They stay float64 when the module that holds the metric is cast.

    After `update`, `last_scores` holds the scalars of its images in order, for per-image tables (`MapScores.scalars`;
    a `*_max` there is the maximum of the image's own curve). It is no state: it only covers this process.

    Raises:
        UserError: unknown protocol or extra, no worker.

    >>> import torch
    >>> metric = COSMetrics(extra=["auc"])
    >>> metric.update([torch.tensor([[0.8, 0.2], [0.4, 0.0]])], [torch.tensor([[True, False], [False, False]])])
    >>> result = metric.compute()
    >>> round(result["mae"].item(), 4), round(result["s_alpha"].item(), 4), tuple(result["f_curve"].shape)
    (0.1875, 0.9353, (256,))
    >>> result["auc"].item(), round(result["dice_mean"].item(), 4), result["dice_max"].item()
    (1.0, 0.7913, 1.0)
    """

    full_state_update = False
    is_differentiable = False

    scalar_sum: Tensor
    curve_sum: Tensor
    count: Tensor

    def __init__(self, protocol: str = "field", extra: Sequence[str] = (), workers: int = 1) -> None:
        super().__init__()
        check_protocol(protocol)
        check_workers(workers)
        self.protocol = protocol
        self.workers = workers
        self.extra = check_extra(extra)
        self.names = (*STANDARD, *self.extra)
        self.last_scores: list[dict[str, float]] = []
        self.add_state("scalar_sum", torch.zeros(len(self.names), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("curve_sum", torch.zeros(len(CURVES), 256, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Maps, targets: Maps, valid: Validity = None, images: Sequence[Map] | None = None) -> None:
        """Score maps and add them to the sums.

        Args:
            preds: list of (H, W) maps of any sizes, or a batch (N, H, W) or (N, 1, H, W); floats in [0, 1], torch or
                NumPy.
            targets: bool maps of the same sizes.
            valid: bool maps of the same sizes, False where nothing is judged (see `score`). None, for all or for
                single images: valid everywhere.
            images: (H, W, 3) uint8 RGB of the same sizes; only the extra `context_weighted` needs them.

        Raises:
            UserError: names every map that cannot be scored and why; the sums are then unchanged.
        """
        scores = score_all(
            checked_maps(preds, targets, valid, images, self.extra), self.protocol, self.extra, self.workers
        )
        scalars, curves = np.zeros(len(self.names)), np.zeros((len(CURVES), 256))
        for single in scores:
            scalars += [single.scalars[name] for name in self.names]
            curves += [single.curves[name] for name in CURVES]
        # Not in place: a state that was reset in inference mode could not be updated outside of it.
        self.scalar_sum = self.scalar_sum + torch.from_numpy(scalars).to(self.scalar_sum.device)
        self.curve_sum = self.curve_sum + torch.from_numpy(curves).to(self.curve_sum.device)
        self.count = self.count + len(scores)
        self.last_scores = [single.scalars for single in scores]

    def compute(self) -> dict[str, Tensor]:
        """Return the means over all images of all processes.

        The scalars (float64, 0-d) have the keys of `MEASURES` (whose `meaning` says how each is computed), those of
        `extra` last; the curves, (256,) along `functional.THRESHOLDS`, have the keys of `CURVES`. Curves are averaged
        over images first; `*_max` is the maximum of the mean curve, `*_mean` its mean.

        Raises:
            UserError: no image was scored, on any process.
        """
        if self.count == 0:
            if is_synced(self):  # torchmetrics does not undo its sync when compute raises
                self.unsync()
            raise UserError(
                "No image was scored: COSMetrics.compute() was called before any update(); is the data set empty?"
            )
        scalars = dict(zip(self.names, self.scalar_sum / self.count, strict=True))
        curves = dict(zip(CURVES, self.curve_sum / self.count, strict=True))
        for name, curve in OF_CURVES.items():
            scalars[name] = curves[curve].max() if name.endswith("_max") else curves[curve].mean()
        return {**scalars, **curves}

    def forward(
        self, preds: Maps, targets: Maps, valid: Validity = None, images: Sequence[Map] | None = None
    ) -> dict[str, Tensor]:
        """Update the measures and return the result of these maps only."""
        # torchmetrics resets the sums before it updates: bad maps must be found before that.
        checked_maps(preds, targets, valid, images, self.extra)
        return super().forward(preds, targets, valid, images)

    def reset(self) -> None:
        """Forget all images."""
        super().reset()
        self.last_scores = []

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> Any:
        """Follow a move to another device but not a cast, such as `.to(torch.float16)`, which would reach the sums."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(fn(tensor.new_empty(0)).device)

        return super()._apply(move, exclude_state)
