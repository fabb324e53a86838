"""What wraps a trained network: several rounds, and sharper logits.

Rounds are the paper's setting of RUN-4, after SegMaR, for any network: segment, magnify on what was found, segment
again.

A later round sees the same image, but the object fills its input: details that the first round's features could not
hold. It is what reading a mask again cannot give (docs/results/mechanism.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.variant import Variant
from src.utils.errors import Problems

MARGIN = 0.2
"""Of the object's box, on each side (our choice; 0.1 and 0.35 do as well on 241 held-out images of 160 px)."""
LARGEST = 2
"""A box is never magnified further than this; a smaller object gets more of what surrounds it (our choice; 4 and 8 do as well there)."""


class InRounds(nn.Module):
    """Segment, then look again at the box around what is found so far, ``rounds − 1`` times.

    Inside the box the result is the mean of the earlier logits and those of the new look: with three rounds the looks
    weigh ¼, ¼ and ½. Where nothing is found nothing changes, and where the box is the whole image the next look is the
    first again. The image is magnified from the network's own input, so that a network is judged by the pixels that it
    was given (our choice), rows and columns each by their own factor.

    Args:
        net: ``net(image)`` returns an object with ``mask_logits`` (N,1,H,W).
        rounds: 2 or more.

    ``forward(image)``: (N,3,H,W) in [0,1] → :class:`MaskOutput`, the last mask alone, as the stages of different looks
    do not fit together.
    """

    def __init__(self, net: nn.Module, rounds: int) -> None:
        super().__init__()
        self.net, self.rounds = net, rounds

    def forward(self, image: Tensor) -> MaskOutput:
        """Return the mask of an image after all rounds."""
        logits = self.net(image).mask_logits
        for _ in range(self.rounds - 1):
            logits = _look_again(self.net, image, logits)
        return MaskOutput(logits)


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
        """Return the network's output with the final mask's logits multiplied."""
        output: RUNOutput | MaskOutput = self.net(image)
        return output._replace(mask_logits=self.factor * output.mask_logits)


def apply_variant(net: nn.Module, variant: Variant) -> nn.Module:
    """Wrap a network with trained weights in what the variant changes; the wrappers have no weights and are never saved.

    Args:
        net: made with the variant's closing step already, which is a setting of its constructor.
        variant: rounds, closing step and sharpness.

    Raises:
        UserError: impossible values, or a closing step for a network without a mask step.
    """
    problems = Problems(variant.problems())
    if variant.closing_step is not None and not getattr(net, "mask_steps", ()):
        problems.append(
            f"closing_step={str(variant.closing_step).lower()}: {network_name(net)} has no mask step; leave it out"
        )
    problems.raise_all()
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


def object_box(mask: Tensor) -> tuple[slice, slice] | None:
    """Rows and columns around a bool mask (H,W) with `MARGIN`, at least 1/`LARGEST` of each side; None for an empty mask.

    >>> mask = torch.zeros(100, 100, dtype=torch.bool)
    >>> mask[30:80, 90:] = True
    >>> object_box(mask)
    (slice(20, 90, None), slice(50, 100, None))
    """
    if not mask.any():
        return None
    rows, columns = (_extended(mask.any(1 - axis)) for axis in (0, 1))
    return rows, columns


def _extended(found: Tensor) -> slice:
    """The stretch of a side (S,) bool where something is found, widened, inside the side."""
    side, places = len(found), found.nonzero().flatten()
    first, last = int(places[0]), int(places[-1]) + 1
    margin = int(MARGIN * (last - first))
    first, last = max(0, first - margin), min(side, last + margin)
    width = max(last - first, -(-side // LARGEST))
    first = min(max(0, first - (width - (last - first)) // 2), side - width)
    return slice(first, first + width)


def _look_again(net: nn.Module, image: Tensor, logits: Tensor) -> Tensor:
    size = (image.shape[-2], image.shape[-1])
    boxes = {i: box for i, row in enumerate(logits) if (box := object_box(row[0] > 0)) is not None}
    if not boxes:
        return logits
    crops = [
        F.interpolate(image[i : i + 1, :, rows, columns], size, mode="bilinear") for i, (rows, columns) in boxes.items()
    ]
    found = net(torch.cat(crops).contiguous(memory_format=torch.channels_last)).mask_logits
    logits = logits.clone()
    for (i, (rows, columns)), seen in zip(boxes.items(), found, strict=True):
        there = logits[i, :, rows, columns]
        logits[i, :, rows, columns] = (there + F.interpolate(seen[None], there.shape[-2:], mode="bilinear")[0]) / 2
    return logits
