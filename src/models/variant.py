"""Evaluation variants: the same trained network with another closing step, in several rounds, or with scaled logits."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.rounds import InRounds
from src.utils.errors import UserError


@dataclass(frozen=True)
class Variant:
    """How a trained network is evaluated; by default as it was trained.

    Args:
        closing_step: of RUN; True: the final mask is M̂_{K+1}, False: M_K; None: as it was trained.
        rounds: 1: one look; 2 or more: :class:`InRounds`.
        sharpness: the logits of the final mask times this (:class:`Sharpened`).
    """

    closing_step: bool | None = None
    rounds: int = 1
    sharpness: float = 1.0

    def problems(self) -> list[str]:
        """Return what is wrong with the values, one line per mistake."""
        found = []
        if self.rounds < 1:
            found.append(f"rounds={self.rounds}: expected 1 (one look), 2 (a second one, magnified) or more")
        if not 0 < self.sharpness < math.inf:
            found.append(f"sharpness={self.sharpness}: expected a number above 0 (1: the logits as they are)")
        return found


AS_TRAINED = Variant()


class Sharpened(nn.Module):
    """Multiply the logits of a network's final mask.

    Args:
        net: ``net(image)`` returns a :class:`RUNOutput` or a :class:`MaskOutput`.
        factor: above 1 makes masks sharper, below 1 softer.

    ``forward(image)``: the network's output, its ``mask_logits`` multiplied; stages stay as they are.
    """

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, image: Tensor) -> RUNOutput | MaskOutput:
        output: RUNOutput | MaskOutput = self.net(image)
        return output._replace(mask_logits=self.factor * output.mask_logits)


def apply_variant(net: nn.Module, variant: Variant) -> nn.Module:
    """Wrap a network with trained weights; what wraps it has no weights and is never saved.

    Args:
        net: made with the variant's closing step already, which is a setting of its constructor.

    Raises:
        UserError: impossible values, or a closing step for a network without a mask step.
    """
    problems = variant.problems()
    if variant.closing_step is not None and not getattr(net, "mask_steps", ()):
        problems.append(f"closing_step={str(variant.closing_step).lower()}: {network_name(net)} has no mask step; leave it out")
    if problems:
        raise UserError("\n".join(problems))
    if variant.rounds > 1:
        net = InRounds(net, variant.rounds)
    return Sharpened(net, variant.sharpness) if variant.sharpness != 1 else net


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the network that :func:`apply_variant` was given."""
    while isinstance(net, (InRounds, Sharpened)):
        net = net.net
    return net


def variant_of(net: nn.Module) -> Variant:
    """Return what a network with its wrappers does; ``closing_step`` is true or false, never None."""
    rounds, sharpness = 1, 1.0
    while isinstance(net, (InRounds, Sharpened)):
        rounds = net.rounds if isinstance(net, InRounds) else rounds
        sharpness = net.factor if isinstance(net, Sharpened) else sharpness
        net = net.net
    return Variant(bool(getattr(net, "closing_step", False)), rounds, sharpness)


def network_name(net: nn.Module) -> str:
    """Return a network's name as reports write it: its class (``FPN`` for `fpn_wide` too), or ``FPN_DS`` for RUN without the unfolding."""
    net = unwrapped(net)
    return type(net).__name__ if getattr(net, "coupling", True) else "FPN_DS"
