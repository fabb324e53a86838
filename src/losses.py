"""Losses: the structure loss, dice on edges, ZoomNet's uncertainty loss, and their sum over the stages (method.md 4).

All of them compute in float32 (or float64), whatever their input: a sum over 352² pixels is beyond fp16's 65504.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput, StageOutput
from src.models.precision import full_precision
from src.models.resample import pool, upsample
from src.ops.precision import without_autocast
from src.utils.errors import UserError

WINDOW = 31


def boundary_weight(target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return 1 + 5·|avgpool31(G) − G|, in [1, 6]: pixels near the boundary count more.

    Windows include the zeros around the image. With `valid` the average is that of the window's valid pixels, among
    which the outside of the image still counts as background, and ignored pixels weigh 0.

    Args:
        target: G, (N,1,H,W) in {0,1}.
        valid: (N,1,H,W) in {0,1}, 0 where pixels are ignored; None: nowhere.

    Returns:
        (N,1,H,W).
    """
    target = full_precision(target)
    if valid is None:
        return 1 + 5 * (_window_mean(target) - target).abs()
    valid = full_precision(valid)
    known = 1 - _window_mean(1 - valid)
    known = known.clamp(min=1 / WINDOW**2)  # 0 only if the whole window is ignored: its pixel then weighs 0
    mean = _window_mean(valid * target) / known
    return valid * (1 + 5 * (mean - target).abs())


def _window_mean(values: Tensor) -> Tensor:
    """Return the mean over a window around each pixel, zeros outside; exact for values of 0 and 1."""
    with without_autocast(values.device):  # a matrix product takes a tenth of avg_pool2d's time
        rows, columns = (_band(size, values) for size in values.shape[-2:])
        return rows @ values @ columns / WINDOW**2


def _band(size: int, like: Tensor) -> Tensor:
    """Return the (size, size) matrix with 1 where two positions share a window."""
    return torch.ones(size, size, device=like.device, dtype=like.dtype).tril(WINDOW // 2).triu(-(WINDOW // 2))


def structure_loss(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return weighted BCE plus weighted IoU loss, each per image, then the mean over the batch (F3Net; released code).

    Args:
        logits: (N,1,H,W).
        target: G, (N,1,H,W) in {0,1}.
        weight: :func:`boundary_weight` of ``target``, if it was computed already; 0 where pixels are ignored.

    Returns:
        Scalar, with IoU smoothing 1. An image whose pixels are all ignored adds nothing.
    """
    logits, target = full_precision(logits), full_precision(target)
    weight = boundary_weight(target) if weight is None else weight
    cross_entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    least = 1  # the smallest weight of a single pixel
    wbce = (weight * cross_entropy).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=least)
    mask = logits.sigmoid()
    intersection = (weight * mask * target).sum((1, 2, 3))
    union = (weight * (mask + target)).sum((1, 2, 3)) - intersection
    return (wbce + 1 - (intersection + 1) / (union + 1)).mean()


def dice_loss(logits: Tensor, target: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return 1 − (2Σpg + 1) / (Σp² + Σg² + 1), p = σ(logits), per image over valid pixels, then the mean.

    Args:
        logits: (N,1,H,W).
        target: g, (N,1,H,W) in {0,1}.
        valid: (N,1,H,W) in {0,1}, 0 where pixels are ignored; None: nowhere.
    """
    probability, target = full_precision(logits).sigmoid(), full_precision(target)
    if valid is not None:
        probability, target = valid * probability, valid * target
    overlap = 2 * (probability * target).sum((1, 2, 3)) + 1
    return (1 - overlap / (probability.square().sum((1, 2, 3)) + target.square().sum((1, 2, 3)) + 1)).mean()


def uncertainty_loss(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the mean of 1 − |2p − 1|² over valid pixels: 1 if the mask is undecided, 0 if it is decided (ZoomNet)."""
    return _mean(1 - (2 * full_precision(logits).sigmoid() - 1).square(), valid)


def _mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Return the mean over pixels and channels, (N,C,H,W), weighted by (N,1,H,W) in [0, 1]."""
    if weight is None:
        return values.mean()
    return (weight * values).sum() / (weight.sum() * values.shape[1]).clamp(min=1)


def edge_target(mask: Tensor) -> Tensor:
    """Return G_e, the 3×3 dilation minus the erosion of G, (N,1,H,W) in {0,1}.

    Pixels outside the image count as neither.
    """
    return F.max_pool2d(mask, 3, stride=1, padding=1) + F.max_pool2d(-mask, 3, stride=1, padding=1)


def edge_valid(valid: Tensor) -> Tensor:
    """Return where :func:`edge_target` is known, (N,1,H,W) in {0,1}: pixels whose 3×3 window is all valid."""
    return 1 - F.max_pool2d(1 - valid, 3, stride=1, padding=1)


class _Truth(NamedTuple):
    """What the stages are compared with, at the input's size; `background` at the unfolding resolution."""

    target: Tensor
    valid: Tensor | None
    weight: Tensor
    edges: Tensor
    edges_valid: Tensor | None
    background: Tensor
    small_valid: Tensor | None
    factor: int

    @classmethod
    def of(cls, image: Tensor, target: Tensor, valid: Tensor | None, weight: Tensor, factor: int) -> _Truth:
        edges = edge_target(target)
        if valid is None:
            return cls(target, None, weight, edges, None, (1 - pool(target, factor)) * image, None, factor)
        share = pool(valid, factor)
        small = pool(valid * target, factor) / share.clamp(min=1e-6)  # of the valid pixels of a cell
        return cls(target, valid, weight, edges, edge_valid(valid), (1 - small) * image, share, factor)


class StagewiseLoss(nn.Module):
    """L = Σ_k 2^(k−K) [structure(M_k) + dice(E_k) + ‖Ĉ_k − C‖² + …] + 2^−K structure(M_0).

    A closing step has no loss: it repeats the mask step that M_1 … M_K use and that B's target trains (measured:
    docs/results/camo.md). Mask and edge logits go up to the input's size before σ, so that the 31-pixel window means
    the same for every network; the two background terms are means over pixels and channels at the unfolding resolution.
    A network without stages gets the structure loss alone. Ignored pixels count in no term that uses the truth, nor in
    the uncertainty.

    Args:
        edge: weight of dice(E_k, G_e).
        reconstruction: weight of ‖Ĉ_k − C‖².
        background: weight of mean |B_k − (1−G)·C| (our switch; 0 is the paper).
        uncertainty: weight of the uncertainty loss on the final mask (M_K, in training), ramped up by a cosine over the
            training (released code: 2; off by default).
        coarse: weight of M_0's structure loss, on top of its 2^−K.

    Raises:
        UserError: negative weights, all at once.
    """

    def __init__(
        self,
        edge: float = 1.0,
        reconstruction: float = 1.0,
        background: float = 0.0,
        uncertainty: float = 0.0,
        coarse: float = 1.0,
    ) -> None:
        super().__init__()
        weights = {
            "edge": edge,
            "reconstruction": reconstruction,
            "background": background,
            "uncertainty": uncertainty,
            "coarse": coarse,
        }
        if wrong := [f"loss.{name}={weight}: must be 0 or more" for name, weight in weights.items() if weight < 0]:
            raise UserError("\n".join(wrong))
        self.edge, self.reconstruction, self.background, self.uncertainty, self.coarse = weights.values()

    def forward(
        self,
        output: RUNOutput | MaskOutput,
        image: Tensor,
        target: Tensor,
        progress: float = 1.0,
        valid: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return all terms, already weighted and summed over stages, and their sum under ``loss``.

        Args:
            output: what the network returned.
            image: C, (N,3,H,W) in [0,1].
            target: G, (N,1,H,W) in {0,1}, float.
            progress: how much of the training is over, in [0,1].
            valid: (N,1,H,W) in {0,1}, float, 0 where pixels are ignored; None: nowhere.
        """
        valid = None if valid is None else full_precision(valid)
        target = target if valid is None else valid * full_precision(target)
        weight = boundary_weight(target, valid)
        terms = {"structure": structure_loss(output.mask_logits, target, weight)}
        if isinstance(output, RUNOutput):
            factor = -(-target.shape[-2] // output.coarse_logits.shape[-2])
            image = pool(full_precision(image), factor)
            self._add_stages(terms, output, image, _Truth.of(image, full_precision(target), valid, weight, factor))
        if self.uncertainty:
            ramp = (1 - math.cos(math.pi * min(max(progress, 0.0), 1.0))) / 2
            terms["uncertainty"] = self.uncertainty * ramp * uncertainty_loss(output.mask_logits, valid)
        return {"loss": torch.stack(list(terms.values())).sum(), **terms}

    def _add_stages(self, terms: dict[str, Tensor], output: RUNOutput, image: Tensor, truth: _Truth) -> None:
        target, factor = truth.target, truth.factor
        size = (target.shape[-2], target.shape[-1])
        last = len(output.stages)
        for k, logits in enumerate(output.stage_logits[:-1]):
            share = 2.0 ** (k - last) * (self.coarse if k == 0 else 1.0)
            if share:
                terms["structure"] = terms["structure"] + share * structure_loss(
                    upsample(logits, factor, size), target, truth.weight
                )
        sums: dict[str, Tensor] = {}
        for k, stage in enumerate(output.stages, start=1):
            for name, term in self._stage_terms(stage, image, truth).items():
                sums[name] = sums.get(name, 0.0) + 2.0 ** (k - last) * term
        terms.update(sums)

    def _stage_terms(self, stage: StageOutput, image: Tensor, truth: _Truth) -> dict[str, Tensor]:
        terms = {}
        if self.edge and stage.edge_logits is not None:
            logits = upsample(stage.edge_logits, truth.factor, (truth.edges.shape[-2], truth.edges.shape[-1]))
            terms["edge"] = self.edge * dice_loss(logits, truth.edges, truth.edges_valid)
        if stage.reconstruction is not None:
            if self.reconstruction:
                terms["reconstruction"] = self.reconstruction * F.mse_loss(full_precision(stage.reconstruction), image)
            if self.background and stage.background is not None:
                error = F.l1_loss(full_precision(stage.background), truth.background, reduction="none")
                terms["background"] = self.background * _mean(error, truth.small_valid)
        return terms
