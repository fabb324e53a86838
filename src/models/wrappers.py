"""Wrappers of a trained network, which have no weights: rounds, the mean with the mirror image, and scaled logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.prompts import Prompt
from src.models.rounds import InRounds, output_of
from src.models.variant import Variant
from src.utils.errors import Problems


class Flipped(nn.Module):
    """Average the logits of the final mask over the image and its mirror image (left for right).

    Args:
        net: ``net(image)`` returns a :class:`RUNOutput` or a :class:`MaskOutput`.

    ``forward(image, prompt=None)``: the network's output for the image, with the mean as ``mask_logits``; stages are
    those of the image itself.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, image: Tensor, prompt: Prompt | None = None) -> RUNOutput | MaskOutput:
        """Return the network's output with the mean of both final masks' logits."""
        output = output_of(self.net, image, prompt)
        mirrored = None if prompt is None else Prompt(*(x.flip(-1) for x in prompt))
        other = output_of(self.net, image.flip(-1), mirrored).mask_logits.flip(-1)
        return output._replace(mask_logits=(output.mask_logits + other) / 2)


class Sharpened(nn.Module):
    """Multiply the logits of a network's final mask.

    Args:
        net: ``net(image)`` returns a :class:`RUNOutput` or a :class:`MaskOutput`.
        factor: above 1 makes masks sharper, below 1 softer.

    ``forward(image, prompt=None)``: the network's output, its ``mask_logits`` multiplied; stages stay as they are.
    """

    def __init__(self, net: nn.Module, factor: float) -> None:
        super().__init__()
        self.net, self.factor = net, factor

    def forward(self, image: Tensor, prompt: Prompt | None = None) -> RUNOutput | MaskOutput:
        """Return the network's output with the final mask's logits multiplied."""
        output = output_of(self.net, image, prompt)
        return output._replace(mask_logits=self.factor * output.mask_logits)


WRAPPERS = (InRounds, Flipped, Sharpened)


def apply_variant(net: nn.Module, variant: Variant) -> nn.Module:
    """Wrap a trained network as the variant asks; the wrappers have no weights and are never saved.

    Args:
        net: already made with the variant's closing step, which is a setting of its constructor.
        variant: rounds, closing step, sharpness and flip.

    Raises:
        UserError: invalid values, or a closing step for a network without a mask step.
    """
    problems = Problems(variant.problems())
    if variant.closing_step is not None and not getattr(net, "mask_steps", ()):
        problems.append(
            f"closing_step={str(variant.closing_step).lower()}: {network_name(net)} has no mask step; leave it out"
        )
    problems.raise_all()
    if variant.flip:
        net = Flipped(net)
    if variant.rounds > 1:
        net = InRounds(net, variant.rounds)
    return Sharpened(net, variant.sharpness) if variant.sharpness != 1 else net


def unwrapped(net: nn.Module) -> nn.Module:
    """Return the network that :func:`apply_variant` was given."""
    while isinstance(net, WRAPPERS):
        net = net.net
    return net


def variant_of(net: nn.Module) -> Variant:
    """Return the variant of a network with its wrappers; ``closing_step`` is true or false, never None."""
    rounds, sharpness, flip = 1, 1.0, False
    while isinstance(net, WRAPPERS):
        rounds = net.rounds if isinstance(net, InRounds) else rounds
        sharpness = net.factor if isinstance(net, Sharpened) else sharpness
        flip = flip or isinstance(net, Flipped)
        net = net.net
    return Variant(bool(getattr(net, "closing_step", False)), rounds, sharpness, flip)


def network_name(net: nn.Module) -> str:
    """Return a network's name in reports: its class (also ``FPN`` for `fpn_wide`), or ``FPN_DS`` without unfolding."""
    net = unwrapped(net)
    return type(net).__name__ if getattr(net, "coupling", True) else "FPN_DS"


def memory_format(net: nn.Module) -> torch.memory_format:
    """Return the memory format in which a network is fastest: its own ``memory_format``, else channels last."""
    return getattr(unwrapped(net), "memory_format", torch.channels_last)
