"""Prompts (boxes, clicks, maps) as the maps that a network reads.

They are P (the mask that the prompt describes), p (how certain it is) and p of its clicks alone, at the size of the
network's input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TRUST = 0.9
"""p of a prompt, unless it is given (our choice)."""
CLICK_RADIUS = 0.02
"""σ of a click's Gaussian disc, as a share of the picture's longer side, in training of the input's (our choice)."""

Mask = NDArray[np.bool_]
Map = NDArray[np.float32]


class PromptMaps(NamedTuple):
    """A prompt of one image.

    Attributes:
        target: P, float32 (H, W) in [0, 1].
        certainty: p, likewise; 0 where the prompt says nothing.
        clicked: p where it is that of a click, else 0.
    """

    target: Map
    certainty: Map
    clicked: Map

    @classmethod
    def without_clicks(cls, target: Map, certainty: Map) -> PromptMaps:
        """Return P and p of a box or a map as a prompt."""
        return cls(target, certainty, np.zeros_like(certainty))


class Click(NamedTuple):
    """A click at `x` and `y`, shares of the picture's width and height; on the object or (`is_object` False) off it."""

    x: float
    y: float
    is_object: bool


def nothing(size: tuple[int, int]) -> PromptMaps:
    """Return the prompt that says nothing, of (height, width) `size`."""
    return PromptMaps(*np.zeros((3, *size), np.float32))


def boxed(rows: tuple[float, float], columns: tuple[float, float], size: tuple[int, int], trust: float) -> PromptMaps:
    """Return a box as a prompt: P = 0, and p = trust outside, 0 inside, in pixels that it cuts by the share outside.

    Args:
        rows: top and bottom, shares of the picture's height.
        columns: left and right, shares of its width.
        size: (height, width) of the maps.
        trust: p outside the box, in (0, 1].
    """
    inside = np.outer(_covered(*rows, size[0]), _covered(*columns, size[1]))
    return PromptMaps.without_clicks(np.zeros(size, np.float32), (trust * (1 - inside)).astype(np.float32))


def _covered(first: float, last: float, pixels: int) -> NDArray[np.float64]:
    """Return by how much the range first … last (shares of the side) covers each of the pixels."""
    edges = np.arange(pixels + 1, dtype=np.float64)
    inside = np.clip(edges, first * pixels, last * pixels)
    return np.diff(inside)


def clicked(
    made: Sequence[Click], size: tuple[int, int], picture: tuple[int, int] | None = None, trust: float = TRUST
) -> PromptMaps:
    """Return clicks as a prompt: a Gaussian disc p each, P = 1 on the object, 0 off it; the larger p counts.

    Args:
        made: the clicks; where two have the same p, the later counts.
        size: (height, width) of the maps.
        picture: (height, width) of the picture, in which discs are round; None: as `size`.
        trust: p at a click, in (0, 1].
    """
    target, certainty, _ = nothing(size)
    picture = picture or size
    ys, xs = (np.arange(side, dtype=np.float64) + 0.5 for side in size)
    radius = CLICK_RADIUS * max(picture)
    for click in made:
        down = (ys / size[0] - click.y) * picture[0] / radius
        across = (xs / size[1] - click.x) * picture[1] / radius
        disc = (trust * np.outer(np.exp(-(down**2) / 2), np.exp(-(across**2) / 2))).astype(np.float32)
        is_surer = disc >= certainty
        target[is_surer], certainty[is_surer] = float(click.is_object), disc[is_surer]
    target[certainty == 0] = 0
    return PromptMaps(target, certainty, certainty.copy())


def from_map(given: NDArray[np.floating], trust: float = TRUST) -> PromptMaps:
    """Return a map in [0, 1] as a prompt: P is the map, p = |2·map − 1| · trust."""
    target = given.astype(np.float32)
    return PromptMaps.without_clicks(target, (np.abs(2 * target - 1) * np.float32(trust)).astype(np.float32))


def surer(under: PromptMaps, over: PromptMaps) -> PromptMaps:
    """Return two prompts as one: at each pixel the more certain one counts, `over` if both are equal."""
    is_over = (over.certainty >= under.certainty) & (over.certainty > 0)
    return PromptMaps(*(np.where(is_over, *pair) for pair in zip(over, under, strict=True)))


def overlaid(under: PromptMaps, clicks: PromptMaps) -> PromptMaps:
    """Return a box or a map and clicks as one prompt: clicks lower its p, and the larger p counts.

    So a click counts around its place whatever the box or map says.
    """
    return surer(under._replace(certainty=under.certainty * (1 - clicks.certainty)), clicks)
