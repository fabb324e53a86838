"""What a segmentation network returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from src.models.resample import upsample


class StageOutput(NamedTuple):
    """One stage k at the unfolding resolution (h, w) = (⌈H/u⌉, ⌈W/u⌉); the next step reads these very tensors.

    A network that refines masks without unfolding (``model=released``) has stages of masks alone: all other fields are
    None.

    Attributes:
        mask_hat: M̂_k, (N,1,h,w) in [0,1].
        mask_logits, mask: logit and probability of M_k, (N,1,h,w).
        edge_logits: logit of E_k, (N,1,h,w), or None without an edge head.
        background: B_k, (N,3,h,w) in [0,1].
        reconstruction: Ĉ_k, (N,3,h,w), or None where ROBE is off (it would equal C).
        residual: r_{k−1}, (N,1,h,w), zero where the residual or the mask step is off.
    """

    mask_hat: Tensor | None
    mask_logits: Tensor
    mask: Tensor
    edge_logits: Tensor | None = None
    background: Tensor | None = None
    reconstruction: Tensor | None = None
    residual: Tensor | None = None


class RUNOutput(NamedTuple):
    """What RUN returns: the start, every stage, and the final mask.

    Attributes:
        mask_logits: (N,1,H,W) at the input's size, of M_K, or of M̂_{K+1} where there is a closing step.
        coarse_logits: logit of M_0, (N,1,h,w) at the unfolding resolution.
        stages: M_1 … M_K with all that belongs to them.
        closing: M̂_{K+1}, (N,1,h,w) in [0,1], or None without a closing step and in training.
    """

    mask_logits: Tensor
    coarse_logits: Tensor
    stages: tuple[StageOutput, ...]
    closing: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """(N,1,H,W), the probability of the final mask."""
        return self.mask_logits.sigmoid()

    @property
    def stage_logits(self) -> tuple[Tensor, ...]:
        """Logits of M_0 … M_K at the unfolding resolution."""
        return (self.coarse_logits, *(stage.mask_logits for stage in self.stages))

    @property
    def masks_hat(self) -> tuple[Tensor, ...]:
        """M̂_1 … M̂_K at the unfolding resolution, and M̂_{K+1} where there is a closing step; empty where stages are masks alone."""
        steps = (*(stage.mask_hat for stage in self.stages), self.closing)
        return tuple(mask for mask in steps if mask is not None)

    @property
    def backgrounds(self) -> tuple[Tensor, ...]:
        """B_1 … B_K at the unfolding resolution; empty where stages are masks alone."""
        return tuple(stage.background for stage in self.stages if stage.background is not None)


class MaskOutput(NamedTuple):
    """What a network without stages returns: ``mask_logits``, (N,1,H,W) at the input's size."""

    mask_logits: Tensor

    @property
    def mask(self) -> Tensor:
        """(N,1,H,W), the probability."""
        return self.mask_logits.sigmoid()


CLOSING_PREFIX = "M̂_"
"""Prefix of the closing mask's name, M̂_{K+1}."""


def stage_logits(output: RUNOutput | MaskOutput) -> dict[str, Tensor]:
    """``M_0`` … ``M_K`` → logits (N,1,H,W) at the input's size, and ``M̂_{K+1}`` where it is the final mask; without stages ``M`` alone."""
    if isinstance(output, MaskOutput):
        return {"M": output.mask_logits}
    height, width = output.mask_logits.shape[-2:]
    factor = -(-height // output.coarse_logits.shape[-2])
    before = output.stage_logits[
        : len(output.stages) + (output.closing is not None)
    ]  # M_K is the final mask itself where nothing closes
    final = f"M_{len(output.stages)}" if output.closing is None else f"{CLOSING_PREFIX}{len(output.stages) + 1}"
    return {f"M_{k}": upsample(logits, factor, (height, width)) for k, logits in enumerate(before)} | {
        final: output.mask_logits
    }


def masks_at_size(logits: Tensor, targets: Sequence[Tensor]) -> list[Tensor]:
    """Logits (N,1,H,W), bilinearly brought to the size of each target (h, w), then σ: one (h, w) map an image."""
    return [
        F.interpolate(
            row.unsqueeze(0).float(), size=tuple(target.shape[-2:]), mode="bilinear", align_corners=False
        ).sigmoid()[0, 0]
        for row, target in zip(logits, targets, strict=True)
    ]
