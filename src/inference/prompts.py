"""Prompts for a picture's mask (a box, clicks, a map), as the maps that a network reads.

Coordinates are pixels of the upright picture: (0, 0) is the top left corner of its first pixel, (width, height) the
bottom right corner of its last. `src/inference/page/prompts.mjs` does the same in the browser.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from src.data.maps import check_map, read_map, read_stored_map
from src.data.prompts import TRUST, Click, PromptMaps, boxed, clicked, from_map, nothing, overlaid, surer
from src.data.readers import Header, read_header
from src.utils.errors import Problems, UserError

FULL = 255.0
"""Level of an object in maps of 8 bits."""

AnyMask: TypeAlias = str | PathLike[str] | np.ndarray


@dataclass(frozen=True, eq=False)
class Said:
    """A prompt: what the user says about one picture's mask.

    Attributes:
        box: x0, y0, x1, y1 (left, top, right, bottom), around the object: nothing outside belongs to it; the inside
            stays open.
        clicks: x, y, sign each: +1 is a place on the object, −1 one off it.
        mask: a map of the picture's size, 0 background … 1 object: a file, or an array (H, W), bool, uint8 or float.
            Where it is near 0.5 it says little.
        trust: how certain all of it is, above 0 and at most 1.
    """

    box: Sequence[float] | None = None
    clicks: Sequence[Sequence[float]] = ()
    mask: AnyMask | None = None
    trust: float = TRUST

    @property
    def is_empty(self) -> bool:
        """Return whether nothing is said."""
        return self.box is None and self.mask is None and _is_list(self.clicks) and not len(self.clicks)

    def problems(self, height: int, width: int) -> list[str]:
        """Return one line per problem of the prompt for a picture of this size; 8-bit grey files are not decoded."""
        found = [] if self.box is None else _box_problems(self.box, height, width)
        found += _click_problems(self.clicks, height, width)
        with (problems := Problems(found)).catch():
            _check_mask(self.mask, height, width)
        problems += trust_problems(self.trust)
        return problems

    def maps(self, height: int, width: int, side: int) -> PromptMaps:
        """Return the maps for a picture of this size, float32 (side, side) each.

        At each pixel the more certain of box and map counts, the box if both are equal. A click multiplies their
        certainty by 1 minus its own, so that it counts around its place whatever the box or the map says.

        Raises:
            UserError: all :meth:`problems` at once, or a map that cannot be read.
        """
        Problems(self.problems(height, width)).raise_all("the prompt for this picture is not valid:")
        size = side, side
        maps = nothing(size)
        if self.mask is not None:
            maps = from_map(_resized(_values(self.mask), side), self.trust)
        if self.box is not None:
            x0, y0, x1, y1 = map(float, self.box)
            maps = surer(maps, boxed((y0 / height, y1 / height), (x0 / width, x1 / width), size, self.trust))
        clicks = [Click(float(x) / width, float(y) / height, sign > 0) for x, y, sign in self.clicks]
        return overlaid(maps, clicked(clicks, size, (height, width), self.trust))


NOTHING = Said()


def trust_problems(trust: Any) -> list[str]:
    """Return the problem of a trust that is no number above 0 and at most 1."""
    is_trust = _are_numbers([trust]) and 0 < trust <= 1
    return [] if is_trust else [f"trust={trust}: expected a number above 0 and at most 1"]


def _resized(values: np.ndarray, side: int) -> np.ndarray:
    """Return a map at (side, side), resized as pictures are (antialiased)."""
    resized = Image.fromarray(values.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    return np.clip(np.asarray(resized, np.float32), 0, 1)


def _box_problems(box: Sequence[float], height: int, width: int) -> list[str]:
    if not _are_numbers(box, 4):
        return [f"box={_shown(box)}: expected four numbers, x0, y0, x1, y1"]
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        return [f"box={_shown(box)}: empty or reversed; expected x0 < x1 and y0 < y1 (left, top, right, bottom)"]
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return [f"box={_shown(box)}: reaches out of the picture, which is {width} wide and {height} high"]
    return []


def _click_problems(clicks: Sequence[Sequence[float]], height: int, width: int) -> list[str]:
    if not _is_list(clicks) or (len(clicks) and _are_numbers(clicks, len(clicks))):
        return [f"clicks={_shown(clicks)}: expected a list of clicks, [(x, y, 1), …]"]
    problems = []
    for number, click in enumerate(clicks, start=1):
        name = f"click {number}, {_shown(click)}"
        if not _are_numbers(click, 3):
            problems.append(f"{name}: expected three numbers, x, y, and +1 (object) or -1 (background)")
            continue
        x, y, sign = click
        if sign not in (1, -1):
            problems.append(f"{name}: its sign is {sign:g}; expected +1 (object) or -1 (background)")
        if not (0 <= x <= width and 0 <= y <= height):
            problems.append(f"{name}: outside the picture, which is {width} wide and {height} high")
    return problems


def _check_mask(mask: AnyMask | None, height: int, width: int) -> None:
    if mask is None:
        return
    if not isinstance(mask, (str, PathLike, np.ndarray)):
        raise UserError(f"mask: expected a file, or an array (height, width); got {type(mask).__name__}")
    name = "mask" if isinstance(mask, np.ndarray) else f"mask {mask}"
    if isinstance(mask, np.ndarray):
        _check_array(mask)
        size = mask.shape[1], mask.shape[0]
    else:
        if not Path(mask).is_file():
            raise UserError(f"{name}: no such file")
        check_map(Path(mask))
        size = read_map(Path(mask)).shape[::-1] if _is_array_file(mask) else _upright(Path(mask)).size
    if size != (width, height):
        raise UserError(f"{name}: {size[0]}×{size[1]} pixels, and the picture has {width}×{height} (width×height)")


def _upright(mask: Path) -> Header:
    header = read_header(mask)
    if header.orientation != 1:
        raise UserError(f"mask {mask}: has an EXIF orientation; save it as the picture is shown, without one")
    return header


def _check_array(mask: np.ndarray) -> None:
    if mask.ndim != 2 or not mask.size or not (mask.dtype in (np.bool_, np.uint8) or mask.dtype.kind == "f"):
        raise UserError(f"mask: expected an array (height, width), bool, uint8 or float; got {mask.dtype} {mask.shape}")
    if mask.dtype.kind == "f" and not (mask.min() >= 0 and mask.max() <= 1):
        raise UserError(f"mask: values from {mask.min():.6g} to {mask.max():.6g}; expected probabilities from 0 to 1")


def _is_array_file(mask: str | PathLike[str]) -> bool:
    return Path(mask).suffix.lower() == ".npy"


def _values(mask: AnyMask) -> np.ndarray:
    """Return a map (H, W) in [0, 1]; warn of levels that are 0 and 1 of 255 alone, as in masks of 0/1."""
    values, full = read_stored_map(Path(mask)) if not isinstance(mask, np.ndarray) else _scaled(mask)
    if full == FULL and round(float(values.max()) * FULL) == 1:
        name = "mask" if isinstance(mask, np.ndarray) else f"mask {mask}"
        warnings.warn(
            f"{name}: has the values 0 and 1 of 255 alone, so that it says that there is no object; "
            "a mask of 0/1? multiply it by 255",
            stacklevel=2,
        )
    return values


def _scaled(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Return an array in [0, 1], and what 1 is in it."""
    return (mask / FULL, FULL) if mask.dtype == np.uint8 else (mask, 1.0)


def _is_list(values: Any) -> bool:
    """Return whether something has items in an order, other than the characters of a word."""
    if isinstance(values, np.ndarray):
        return values.ndim > 0
    return isinstance(values, Sequence) and not isinstance(values, str)


def _are_numbers(values: Any, count: int = 1) -> bool:
    """Return whether something is a sequence of ``count`` finite numbers."""
    if not _is_list(values) or len(values) != count:
        return False
    return all(isinstance(value, (int, float, np.number)) and math.isfinite(value) for value in values)


def _shown(values: Any) -> str:
    """Return numbers as they are written: ``(1, 2.5, 3)``."""
    if not _is_list(values):
        return repr(values)
    return f"({', '.join(f'{one:g}' if isinstance(one, (int, float, np.number)) else repr(one) for one in values)})"
