"""Prompts made from the true mask, right and wrong ones, for training and evaluation (our choice).

The data sets have none of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from src.data.prompts import TRUST, Click, Map, Mask, PromptMaps, boxed, from_map, nothing

WRONG_TRUST = 0.3
"""The largest p of prompts that are wrong."""
NEAR_CENTRE = 0.5
"""A random click's distance to the edge of a wrong region is at least this share of the largest one."""
COARSE = {1: (0.3, 0.2), 2: (0.65, 0.33), 3: (1.1, 0.55)}
"""Level of a coarse map → how far its outline moves and the σ of its blur, in radii of a disc of the object's area."""
JITTER = 0.1
"""How far the sides of an inexact box move, as a share of its width or height."""
WAVES = 4
"""Side of the grid of random displacements of a coarse map."""
TRUTHFUL = ("box", "box_jitter", *(f"coarse_{level}" for level in COARSE))
"""The kinds of prompts that are made from the truth alone; clicks are made from what a network found, too."""


def seeded(*words: str) -> np.random.Generator:
    """Return a generator that depends on the words (an image's name, a prompt's kind) alone."""
    digest = hashlib.sha256("\0".join(words).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def truthful(kind: str, mask: Mask, size: tuple[int, int], name: str) -> PromptMaps:
    """Return the prompt of a kind of `TRUTHFUL` for an image; it depends on kind, mask and the image's name alone.

    Args:
        kind: `box`, `box_jitter`, or `coarse_1` to `coarse_3`.
        mask: the object, bool (h, w) of any size.
        size: (height, width) of the maps.
        name: the image's name.
    """
    rng = seeded(kind, name)
    if kind.startswith("coarse_"):
        return from_map(coarse_map(mask, size, int(kind[-1]), rng))
    return box(mask, size, JITTER if kind == "box_jitter" else 0.0, rng)


def box(mask: Mask, size: tuple[int, int], jitter: float, rng: np.random.Generator, trust: float = TRUST) -> PromptMaps:
    """Return the box around an object as a prompt: P = 0 and p = trust outside, p = 0 inside.

    Args:
        mask: the object, bool (h, w) of any size; without an object the prompt says nothing.
        size: (height, width) of the maps.
        jitter: each side moves by up to this share of the box's width or height, uniformly; below 0.5.
        rng: draws the moves.
        trust: p outside the box, in (0, 1].
    """
    if not mask.any():
        return nothing(size)
    rows, columns = (_moved(np.asarray(mask.any(1 - axis)), jitter, rng) for axis in (0, 1))
    return boxed(rows, columns, size, trust)


def _moved(found: Mask, jitter: float, rng: np.random.Generator) -> tuple[float, float]:
    """Return both ends of the range of the True entries as shares of the side, each moved at random."""
    places = np.flatnonzero(found)
    first, last = float(places[0]), float(places[-1]) + 1
    moves = rng.uniform(-jitter, jitter, 2) * (last - first)
    return max(0.0, (first + moves[0]) / len(found)), min(1.0, (last + moves[1]) / len(found))


def next_click(
    mask: Mask, found: Mask, earlier: Sequence[Click] = (), rng: np.random.Generator | None = None
) -> Click | None:
    """Return the next corrective click, in the deepest wrong region: positive if it was missed, else negative.

    The click is at the wrong pixel that is farthest from its region's edge (the picture's border is an edge), as in the
    evaluation of interactive segmentation (Sofiiuk et al., RITM, 2021).

    Args:
        mask: the truth, bool (h, w).
        found: the current mask, bool (h, w).
        earlier: clicks whose pixels are not clicked again.
        rng: draws a pixel near the centre of a wrong region, as people do; None: the centre.

    Returns:
        None if nothing is wrong.
    """
    height, width = mask.shape
    missed, false = _depth(mask & ~found), _depth(found & ~mask)
    for click in earlier:
        place = min(int(click.y * height), height - 1), min(int(click.x * width), width - 1)
        missed[place] = false[place] = 0
    is_object = bool(missed.max() >= false.max())
    depth = missed if is_object else false
    if depth.max() == 0:
        return None
    if rng is None:
        place = divmod(int(depth.argmax()), width)
    else:
        near = np.flatnonzero(depth.ravel() >= NEAR_CENTRE * depth.max())
        place = divmod(int(rng.choice(near)), width)
    return Click((place[1] + 0.5) / width, (place[0] + 0.5) / height, is_object)


def corrected(
    mask: Mask, found: Mask, answer: Callable[[Sequence[Click]], Mask], most: int
) -> Iterator[tuple[list[Click], Mask]]:
    """Yield the clicks so far and the mask that they give, after each of up to `most` corrective clicks.

    It ends where nothing is wrong any more.

    Args:
        mask: the truth, bool (h, w).
        found: the mask without clicks, likewise.
        answer: returns the mask for clicks.
        most: number of clicks.
    """
    made: list[Click] = []
    while len(made) < most and (click := next_click(mask, found, made)) is not None:
        made = [*made, click]
        found = answer(made)
        yield made, found


def clicks(mask: Mask, found: Mask, count: int, rng: np.random.Generator | None = None) -> list[Click]:
    """Return up to `count` corrective clicks on one mask, without a new prediction in between.

    Each click is taken to correct the disc around it that reaches to the nearest pixel that is right.
    Arguments as in `next_click`; fewer clicks where fewer regions are wrong.
    """
    found, made = found.copy(), list[Click]()
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    for _ in range(count):
        click = next_click(mask, found, made, rng)
        if click is None:
            break
        y, x = int(click.y * mask.shape[0]), int(click.x * mask.shape[1])
        reach = _depth(mask != found)[y, x]
        mended = (rows - y) ** 2 + (columns - x) ** 2 <= reach**2
        found[mended] = mask[mended]
        made.append(click)
    return made


def coarse_map(mask: Mask, size: tuple[int, int], level: int, rng: np.random.Generator) -> Map:
    """Return a coarse version of a mask, float32 (H, W) in [0, 1]: its outline moves, then it is blurred.

    Args:
        mask: the object, bool (h, w) of any size.
        size: (H, W).
        level: 1, 2 or 3, ever coarser (`COARSE`).
        rng: draws how the outline moves.
    """
    truth = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    radius = float(np.sqrt(truth.sum() / np.pi))
    move, blur = (share * radius for share in COARSE[level])
    waves = rng.uniform(-move, move, (2, WAVES, WAVES)).astype(np.float32)
    down, across = (cv2.resize(wave, size[::-1], interpolation=cv2.INTER_CUBIC) for wave in waves)
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    moved = cv2.remap(truth, xs + across, ys + down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.clip(cv2.GaussianBlur(moved, (0, 0), max(blur, 0.1)), 0, 1)


def wrong(mask: Mask, other: Mask, size: tuple[int, int], rng: np.random.Generator) -> PromptMaps:
    """Return a prompt that is wrong: the inverted map, another image's map or its box, with a small p.

    Args:
        mask: the object, bool (h, w) of any size.
        other: another image's, likewise.
        size: (height, width) of the maps.
        rng: draws which one, and its trust, uniform from a tenth of `WRONG_TRUST` to all of it.
    """
    kind, trust = rng.integers(3), float(rng.uniform(0.1 * WRONG_TRUST, WRONG_TRUST))
    if kind == 0:
        return box(other, size, 0.0, rng, trust)
    shown = coarse_map(other, size, 1, rng) if kind == 1 else 1 - coarse_map(mask, size, 1, rng)
    return from_map(shown, trust)


def _depth(region: Mask) -> NDArray[np.float64]:
    """Return each pixel's distance to the outside of a region, 0 outside; the picture's border is outside.

    The last bits of OpenCV's distances depend on where the array lies in memory. Their squares are whole numbers, so
    rounding these gives the same bits every time.
    """
    padded = cv2.copyMakeBorder(region.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1].astype(np.float64)
    return np.sqrt(np.rint(distance**2))
