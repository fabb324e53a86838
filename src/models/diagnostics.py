"""Is the unfolding at work? What its mask step gains, and where its few numbers stand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.resample import pool


def mask_step_gains(output: RUNOutput | MaskOutput, targets: Sequence[Tensor], valid: Sequence[Tensor] | None = None) -> list[Tensor]:
    """mean |M_{k−1} − G| − mean |M̂_k − G| for k = 1 … K, over the batch at the unfolding resolution (method.md 3.5).

    Positive where the closed-form step moves the mask towards the truth; after training, a gain under 0.001 means an
    idle unfolding. A network without stages has none.

    Args:
        targets: G, bool (h, w) of any size, one an image. valid: likewise, where the truth is known; None: everywhere.
    """
    if isinstance(output, MaskOutput):
        return []
    size = (output.mask_logits.shape[-2], output.mask_logits.shape[-1])

    def at_unfolding(maps: Sequence[Tensor]) -> Tensor:
        at_input = torch.cat([F.interpolate(map_[None, None].float(), size, mode="area") for map_ in maps])
        return pool(at_input, -(-size[0] // output.coarse_logits.shape[-2]))

    truth = at_unfolding(targets)
    weight = torch.ones_like(truth) if valid is None else at_unfolding(valid)

    def error(mask: Tensor) -> Tensor:
        return (weight * (mask - truth).abs()).sum() / weight.sum()

    before = [logits.sigmoid() for logits in output.stage_logits[:-1]]
    return [error(mask) - error(stage.mask_hat) for mask, stage in zip(before, output.stages, strict=True)]


def unfolding_values(net: nn.Module) -> dict[str, float]:
    """μ, λ, α, s, γ as they stand, by the name of their module; empty for a network without unfolding."""
    values = {}
    for i, step in enumerate(getattr(net, "mask_steps", ())):
        values[f"mu_{i}"] = step.mu().item()
        if step.residual:
            values |= {f"alpha_{i}": step.alpha().item(), f"s_{i}": step.scale.item()}
    values |= {f"lambda_{i}": robe.lam().item() for i, robe in enumerate(getattr(net, "robes", ()))}
    values |= {f"gamma_{i}": gamma.item() for i, gamma in enumerate(getattr(net, "gammas", ()))}
    return values
