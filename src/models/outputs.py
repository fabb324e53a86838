"""The outputs of the segmentation networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from src.models.resample import upsample


class StageOutput(NamedTuple):
    """One stage k at the unfolding resolution (h, w) = (⌈H/u⌉, ⌈W/u⌉); the next stage uses the same tensors.

    In a network that refines masks without unfolding (``model=released``) stages only have masks: all other fields are
    None.

    Attributes:
        mask_hat: M̂_k, (N,1,h,w) in [0,1].
        mask_logits, mask: logit and probability of M_k, (N,1,h,w).
        edge_logits: logit of E_k, (N,1,h,w), or None without an edge head.
        background: B_k, (N,3,h,w) in [0,1].
        reconstruction: Ĉ_k, (N,3,h,w), or None if ROBE is off (it would equal C).
        residual: r_{k−1}, (N,1,h,w), zero if the residual or the mask step is off.
    """

    mask_hat: Tensor | None
    mask_logits: Tensor
    mask: Tensor
    edge_logits: Tensor | None = None
    background: Tensor | None = None
    reconstruction: Tensor | None = None
    residual: Tensor | None = None


class RUNOutput(NamedTuple):
    """RUN's output: the start, every stage, and the final mask.

    Attributes:
        mask_logits: (N,1,H,W) at the input's size, of M_K, or of M̂_{K+1} with a closing step.
        coarse_logits: logit of M_0, (N,1,h,w) at the unfolding resolution.
        stages: stages 1 … K, with M_1 … M_K and their other variables.
        closing: M̂_{K+1}, (N,1,h,w) in [0,1]; None without a closing step, and in training.
    """

    mask_logits: Tensor
    coarse_logits: Tensor
    stages: tuple[StageOutput, ...]
    closing: Tensor | None = None

    @property
    def mask(self) -> Tensor:
        """Return the probability of the final mask, (N,1,H,W)."""
        return self.mask_logits.sigmoid()

    @property
    def stage_logits(self) -> tuple[Tensor, ...]:
        """Return the logits of M_0 … M_K, (N,1,h,w) each, at the unfolding resolution."""
        return (self.coarse_logits, *(stage.mask_logits for stage in self.stages))

    @property
    def masks_hat(self) -> tuple[Tensor, ...]:
        """Return M̂_1 … M̂_K (and M̂_{K+1} with a closing step), (N,1,h,w) each, at the unfolding resolution.

        Empty if the stages only have masks.
        """
        steps = (*(stage.mask_hat for stage in self.stages), self.closing)
        return tuple(mask for mask in steps if mask is not None)

    @property
    def backgrounds(self) -> tuple[Tensor, ...]:
        """Return B_1 … B_K, (N,3,h,w) each, at the unfolding resolution; empty if the stages only have masks."""
        return tuple(stage.background for stage in self.stages if stage.background is not None)


class MaskOutput(NamedTuple):
    """The output of a network without stages: ``mask_logits``, (N,1,H,W) at the input's size."""

    mask_logits: Tensor

    @property
    def mask(self) -> Tensor:
        """Return the probability of the mask, (N,1,H,W)."""
        return self.mask_logits.sigmoid()


CLOSING_PREFIX = "M̂_"
"""Prefix of the closing mask's name, M̂_{K+1}."""


def stage_logits(output: RUNOutput | MaskOutput) -> dict[str, Tensor]:
    """Return the logits of all masks by name, (N,1,H,W) each, at the input's size.

    The names are ``M_0`` … ``M_K``, and ``M̂_{K+1}`` if it is the final mask; ``M`` for a network without stages.
    """
    if isinstance(output, MaskOutput):
        return {"M": output.mask_logits}
    height, width = output.mask_logits.shape[-2:]
    factor = -(-height // output.coarse_logits.shape[-2])
    # Without a closing step M_K is the final mask.
    before = output.stage_logits[: len(output.stages) + (output.closing is not None)]
    final = f"M_{len(output.stages)}" if output.closing is None else f"{CLOSING_PREFIX}{len(output.stages) + 1}"
    return {f"M_{k}": upsample(logits, factor, (height, width)) for k, logits in enumerate(before)} | {
        final: output.mask_logits
    }


def masks_at_size(logits: Tensor, targets: Sequence[Tensor]) -> list[Tensor]:
    """Resize the logits (N,1,H,W) bilinearly to each target's size (h, w), then apply σ; one map (h, w) per image."""
    return [
        F.interpolate(
            row.unsqueeze(0).float(), size=tuple(target.shape[-2:]), mode="bilinear", align_corners=False
        ).sigmoid()[0, 0]
        for row, target in zip(logits, targets, strict=True)
    ]


def maps_at_size(logits: Mapping[str, Tensor], target: Tensor) -> dict[str, Tensor]:
    """Return the maps (h, w) of one image at its mask's size, by name, from its logits (1,1,H,W)."""
    return {name: masks_at_size(own, [target])[0] for name, own in logits.items()}
