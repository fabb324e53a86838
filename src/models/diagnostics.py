"""Measure what the unfolding does: the gains of its mask steps, their parts, and its learned numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.resample import pool
from src.models.robe import background_step
from src.models.run import RUN, module_of_stage
from src.models.sofs import MaskStep, filtered_residual, residual_filter


def mask_step_gains(
    output: RUNOutput | MaskOutput, targets: Sequence[Tensor], valid: Sequence[Tensor] | None = None
) -> list[Tensor]:
    """Return the gain of each mask step: mean |M_{k−1} − G| − mean |M̂_k − G| over the batch.

    One gain for each k = 1 … K (K + 1 with a closing step), at the unfolding resolution. It is positive if the
    closed-form step moves the mask towards the truth; after training, a gain under 0.001 means that the unfolding does
    nothing (method.md 3.5). A network without stages has no gains.

    Args:
        output: the network's output.
        targets: G, bool (h, w) of any size, one per image.
        valid: likewise, True where the truth is known; None: everywhere.
    """
    return [] if isinstance(output, MaskOutput) else _nearer_by(output, output.masks_hat, targets, valid)


def _nearer_by(
    output: RUNOutput, after: Sequence[Tensor], targets: Sequence[Tensor], valid: Sequence[Tensor] | None
) -> list[Tensor]:
    """Return by how much each mask in ``after`` is nearer to the truth than the mask M_0, M_1, … before it."""
    size = (output.mask_logits.shape[-2], output.mask_logits.shape[-1])

    def at_unfolding(maps: Sequence[Tensor]) -> Tensor:
        at_input = torch.cat([F.interpolate(map_[None, None].float(), size, mode="area") for map_ in maps])
        return pool(at_input, -(-size[0] // output.coarse_logits.shape[-2]))

    truth = at_unfolding(targets)
    weight = torch.ones_like(truth) if valid is None else at_unfolding(valid)

    def error(mask: Tensor) -> Tensor:
        return (weight * (mask - truth).abs()).sum() / weight.sum()

    before = [logits.sigmoid() for logits in output.stage_logits[: len(after)]]
    return [error(mask) - error(moved) for mask, moved in zip(before, after, strict=True)]


class StepParts(NamedTuple):
    """The step M̂_k − M_{k−1} of one stage, before clamping, as a sum of four maps (N,1,h,w) (method.md 3.5).

    Attributes:
        evidence: −⟨C, U_{k−1}⟩ / Q_a, the evidence of the RGB network U; zero at k = 1.
        memory: −⟨C, δ_{k−1} − U_{k−1}⟩ / Q_a, the pull of λ towards older masks.
        gradient: −w_k s ∇S(r_{k−1}) / Q_a, the residual network's part.
        sparsity: −w_k α L_S (ρ_k − r_{k−1}) / Q_a, with ρ_k = w_k (M_{k−1} − M̃_k).
        weight: w_k.
    """

    evidence: Tensor
    memory: Tensor
    gradient: Tensor
    sparsity: Tensor
    weight: Tensor


@torch.no_grad()
def mask_step_parts(net: RUN, image: Tensor, output: RUNOutput) -> list[StepParts]:
    """Return the parts of each mask step, including a closing step; an empty list if the mask step is off.

    Args:
        net: the network.
        image: (N,3,H,W) in [0,1].
        output: ``net(image)``.
    """
    if not net.mask_steps:
        return []
    image = pool(image.float(), net.unfold_stride)
    masks = [logits.sigmoid() for logits in output.stage_logits]
    backgrounds = [(1 - masks[0]) * image, *output.backgrounds]
    repairs = [torch.zeros_like(image)]
    for k, mask in enumerate(masks[1:]):
        estimate = (
            background_step(image, mask, backgrounds[k], module_of_stage(net.robes, k).lam())
            if net.robes
            else backgrounds[k + 1]
        )
        repairs.append(backgrounds[k + 1] - estimate)
    return [
        _parts(
            module_of_stage(net.mask_steps, min(k, len(output.stages) - 1)),
            image,
            masks[k],
            masks[max(k - 1, 0)],
            backgrounds[k],
            repairs[k],
            is_closing=k == len(output.stages),
        )
        for k in range(len(output.masks_hat))
    ]


GAINED_BY: dict[str, tuple[str, ...]] = {
    "the step": ("evidence", "memory", "gradient", "sparsity"),
    "(a) the evidence of U": ("evidence",),
    "(b) λ's memory": ("memory",),
    "(c) ∇S": ("gradient",),
    "(d) the L_S term": ("sparsity",),
    "(a) and (c)": ("evidence", "gradient"),
}
"""The gains of :func:`gains_by_part`: name → the parts that are added to M_{k−1}."""


@torch.no_grad()
def gains_by_part(
    net: RUN, image: Tensor, output: RUNOutput, targets: Sequence[Tensor], valid: Sequence[Tensor] | None = None
) -> dict[str, list[Tensor]]:
    """Return :func:`mask_step_gains` for steps that only have some of their parts, by the names of `GAINED_BY`.

    The masks are clamped to [0,1], as M̂_k is. The parts are taken from the given pass, so their gains do not add up
    where a sum leaves [0,1] or overshoots the truth. Empty lists if the mask step is off. method.md 3.5 explains the
    choice of parts, above all (a) and (c) together.

    Args:
        net: the network.
        image: (N,3,H,W) in [0,1].
        output: ``net(image)``.
        targets: as for :func:`mask_step_gains`.
        valid: likewise.
    """
    steps = mask_step_parts(net, image, output)
    masks = [logits.sigmoid() for logits in output.stage_logits[: len(steps)]]

    def moved(names: tuple[str, ...]) -> list[Tensor]:
        added = [
            sum((getattr(parts, name) for name in names), torch.zeros_like(mask))
            for mask, parts in zip(masks, steps, strict=True)
        ]
        return [(mask + step).clamp(0, 1) for mask, step in zip(masks, added, strict=True)]

    return {name: _nearer_by(output, moved(parts), targets, valid) for name, parts in GAINED_BY.items()}


def _parts(
    step: MaskStep, image: Tensor, mask: Tensor, mask_prev: Tensor, background: Tensor, repair: Tensor, is_closing: bool
) -> StepParts:
    weight, tilde = residual_filter(mask, step.uncertain_band, step.softness)
    residual = filtered_residual(mask, mask_prev, step.uncertain_band, step.softness)
    has_residual = step.has_residual(is_closing)
    strength = step.alpha() * step.lipschitz if has_residual else 0.0
    grad_s = step.scale * step.gradient(residual).float() if has_residual else torch.zeros_like(mask)
    q_a = image.square().sum(1, keepdim=True) + strength * weight.square() + step.mu()
    evidence = (image * repair).sum(1, keepdim=True)
    difference = (image * (background - (1 - mask) * image)).sum(1, keepdim=True)
    sparsity = weight * strength * (weight * (mask - tilde) - residual)
    return StepParts(-evidence / q_a, (evidence - difference) / q_a, -weight * grad_s / q_a, -sparsity / q_a, weight)


def unfolding_values(net: nn.Module) -> dict[str, float]:
    """Return the current μ, λ, α, s, γ by name and stage, such as ``mu_0``, and ν; empty for other networks."""
    values = {}
    for i, step in enumerate(getattr(net, "mask_steps", ())):
        values[f"mu_{i}"] = step.mu().item()
        if step.residual:
            values |= {f"alpha_{i}": step.alpha().item(), f"s_{i}": step.scale.item()}
    values |= {f"lambda_{i}": robe.lam().item() for i, robe in enumerate(getattr(net, "robes", ()))}
    values |= {f"gamma_{i}": gamma.item() for i, gamma in enumerate(getattr(net, "gammas", ()))}
    if (term := getattr(net, "prompt_term", None)) is not None:
        values["nu"] = term.nu().item()
    return values
