"""Several rounds, the paper's setting of RUN-4 (after SegMaR), for any network.

Segment, crop and enlarge the detected object, segment again.

A later round gets the same image, but the object fills its input and shows details that the first round's features
cannot hold. Further stages on the same features cannot do that (docs/results/mechanism.md).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.outputs import MaskOutput, RUNOutput
from src.models.prompts import Prompt

MARGIN = 0.2
"""Margin on each side of the object's box, as a share of its side.

Our choice; 0.1 and 0.35 score the same on 241 held-out images of 160 px.
"""
LARGEST = 2
"""Largest magnification; the box of a smaller object includes more of its surroundings.

Our choice; 4 and 8 score the same on those images.
"""


class InRounds(nn.Module):
    """Segment, then segment the enlarged box around the detected object again, ``rounds − 1`` times.

    Inside the box the result is the mean of the earlier logits and those of the new round: three rounds have the
    weights ¼, ¼ and ½. If nothing is found, nothing changes; if the box is the whole image, the next round repeats the
    first. The crop is taken from the network's own input, so that it holds no more information than the network was
    given (our choice), and is enlarged by separate factors for rows and columns.

    Args:
        net: ``net(image)`` returns an object with ``mask_logits`` (N,1,H,W).
        rounds: 2 or more.

    ``forward(image, prompt=None)``: (N,3,H,W) in [0,1] → :class:`MaskOutput`, only the last mask, as the stages of
    different rounds do not fit together. A prompt is cropped as the image is; only a network that takes prompts can be
    given one.
    """

    def __init__(self, net: nn.Module, rounds: int) -> None:
        super().__init__()
        self.net, self.rounds = net, rounds

    def forward(self, image: Tensor, prompt: Prompt | None = None) -> MaskOutput:
        """Return the mask of an image after all rounds."""
        prompt = None if prompt is None else prompt.resized(image.shape[-2], image.shape[-1])
        logits = output_of(self.net, image, prompt).mask_logits
        for _ in range(self.rounds - 1):
            logits = _look_again(self.net, image, prompt, logits)
        return MaskOutput(logits)


def object_box(mask: Tensor) -> tuple[slice, slice] | None:
    """Return the rows and columns of the box around a bool mask (H,W); None for an empty mask.

    The box is widened by `MARGIN` on each side, and to at least 1/`LARGEST` of the image's sides.

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
    """Return the widened range of the True entries of (S,) bool, within 0 … S."""
    side, places = len(found), found.nonzero().flatten()
    first, last = int(places[0]), int(places[-1]) + 1
    margin = int(MARGIN * (last - first))
    first, last = max(0, first - margin), min(side, last + margin)
    width = max(last - first, -(-side // LARGEST))
    first = min(max(0, first - (width - (last - first)) // 2), side - width)
    return slice(first, first + width)


def output_of(net: nn.Module, image: Tensor, prompt: Prompt | None) -> RUNOutput | MaskOutput:
    """Return ``net(image)``, with the prompt if there is one: not every network has that argument."""
    output: RUNOutput | MaskOutput = net(image) if prompt is None else net(image, prompt=prompt)
    return output


def _look_again(net: nn.Module, image: Tensor, prompt: Prompt | None, logits: Tensor) -> Tensor:
    size = (image.shape[-2], image.shape[-1])
    boxes = {i: box for i, row in enumerate(logits) if (box := object_box(row[0] > 0)) is not None}
    if not boxes:
        return logits
    crops = [
        F.interpolate(image[i : i + 1, :, rows, columns], size, mode="bilinear") for i, (rows, columns) in boxes.items()
    ]
    if prompt is not None:
        parts = [prompt.part(i, rows, columns).resized(*size) for i, (rows, columns) in boxes.items()]
        prompt = Prompt(*(torch.cat(maps) for maps in zip(*parts, strict=True)))
    images = torch.cat(crops).contiguous(memory_format=torch.channels_last)
    found = output_of(net, images, prompt).mask_logits
    logits = logits.clone()
    for (i, (rows, columns)), seen in zip(boxes.items(), found, strict=True):
        there = logits[i, :, rows, columns]
        logits[i, :, rows, columns] = (there + F.interpolate(seen[None], there.shape[-2:], mode="bilinear")[0]) / 2
    return logits
