"""How a mask file is read: this module alone decides what its values mean, and collects signs of another meaning.

A pixel is object above half of the file's range, and the range is the smallest of 1, 255, 65535 that holds the file's
maximum. Colour counts by its strongest channel. Transparent pixels are background; where only the transparency varies,
it is the mask. With an ignore value the file is a map of labels: palettes count by their index, and pixels of that
value are neither object nor background.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

MAX_LEVELS = 16
"""A mask with grey levels is a map of labels if it has at most this many, else a picture."""
PLATEAU = 9
"""A grey level fills an area, unlike a soft edge, if this many of its pixels only have neighbours of that level."""
THUMB_SIDE = 16
"""Side of `MaskFacts.thumb` in pixels."""


class MaskValues(NamedTuple):
    """The values of a mask.

    Attributes:
        values: (H, W) uint8, or float32 for files of more than 8 bits; 0 where pixels are ignored.
        top: the value of full foreground.
        source: what the values are in the file: `grey`, `colour`, `transparency` or `index`.
        ignored: bool (H, W); None without an ignore value.
    """

    values: np.ndarray
    top: float
    source: str
    ignored: np.ndarray | None = None

    @property
    def mask(self) -> np.ndarray:
        """Return the object, bool (H, W)."""
        found: np.ndarray = self.values > self.top / 2
        return found


@dataclass(frozen=True)
class MaskFacts:
    """What is needed to judge a mask once its pixels are gone.

    Attributes:
        mode: Pillow's name of the pixel format.
        source: see `MaskValues`.
        top: likewise.
        highest: the largest value.
        share: of object pixels among all.
        border: of object pixels among those on the border.
        middle: of pixels between 10 and 90 % of the range among all.
        soft: whether there is any value between 0 and `top`.
        levels: the distinct values if there are at most `MAX_LEVELS`, else empty.
        plateaus: the levels between 0 and 90 % of `top` that fill areas (`PLATEAU`); empty for JPEGs.
        is_coloured: whether colours differ, not only brightness.
        is_cut_out: whether colours and transparency both vary.
        is_lossy: whether the file is a JPEG.
        ignored: share of ignored pixels; None without an ignore value.
        flaw: values that no mask can have (NaN, negative ones), in words; None if there are none.
        thumb: uint8 (16, 16), the share of object pixels in 255ths.
    """

    mode: str
    source: str
    top: float
    highest: float
    share: float
    border: float
    middle: float
    soft: bool
    levels: tuple[float, ...]
    plateaus: tuple[float, ...]
    is_coloured: bool
    is_cut_out: bool
    is_lossy: bool
    ignored: float | None
    flaw: str | None
    thumb: np.ndarray

    @property
    def is_empty(self) -> bool:
        """Return whether no pixel is object."""
        return self.share == 0

    @property
    def reading(self) -> str:
        """Return in words how the file is read."""
        limit = f"{np.floor(self.top / 2):g}" if self.top > 1 else "0"
        scale = "0/1" if self.top == 1 else f"0 to {self.top:g}"
        what = {
            "grey": "values",
            "colour": "strongest channel",
            "transparency": "transparency",
            "index": "palette index",
        }[self.source]
        return f"{what} {scale}, object above {limit}"


def decode_mask(file: Image.Image, ignore: int | None = None) -> MaskValues:
    """Return the values of an opened mask file, before any threshold.

    Args:
        file: opened by Pillow.
        ignore: the value of pixels that are neither object nor background; None: there are none.
    """
    values, source = _values(file, by_index=ignore is not None)
    if ignore is None:
        return MaskValues(values, value_range(values), source)
    ignored = values == ignore
    values = np.where(ignored, 0, values)
    return MaskValues(values, value_range(values), source, ignored)


def _values(file: Image.Image, by_index: bool) -> tuple[np.ndarray, str]:
    if file.mode == "P" and by_index:
        return np.array(file), "index"
    if file.mode in ("1", "L") and "transparency" not in file.info:
        return np.array(file.convert("L")) if file.mode == "1" else np.array(file), "grey"
    if file.mode == "F" or file.mode.startswith("I"):
        return np.array(file, dtype=np.float32), "grey"
    rgba = np.array(file.convert("RGBA"))
    colours, alpha = rgba[..., :3], rgba[..., 3]
    if alpha.min(initial=255) == alpha.max(initial=0):
        return colours.max(axis=-1), "colour"
    if (colours == colours[:1, :1]).all():
        return alpha.copy(), "transparency"
    return np.where(alpha > 127, colours.max(axis=-1), 0).astype(np.uint8), "colour"


def value_range(values: np.ndarray) -> float:
    """Return the value of full foreground: the smallest of 1, 255, 65535 that no value exceeds, else the maximum."""
    maximum = float(np.fmax.reduce(values, axis=None, initial=0))
    return next((top for top in (1.0, 255.0, 65535.0) if maximum <= top), maximum)


def facts_of(file: Image.Image, decoded: MaskValues) -> MaskFacts:
    """Return the facts by which a decoded mask is judged; `file` must still be open."""
    values, top, mask = decoded.values, decoded.top, decoded.mask
    found, counts = _histogram(values)
    share = counts / max(values.size, 1)
    is_lossy = file.format == "JPEG"
    few = tuple(float(value) for value in found) if found.size <= MAX_LEVELS else ()
    is_coloured, is_cut_out = _colours(file) if decoded.source != "index" else (False, False)
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return MaskFacts(
        mode=file.mode,
        source=decoded.source,
        top=top,
        highest=float(found.max(initial=0)),
        share=float(mask.mean()),
        border=float(border.mean()),
        middle=float(share[(found > 0.1 * top) & (found < 0.9 * top)].sum()),
        soft=bool(((found > 0) & (found < top)).any()),
        levels=few,
        plateaus=() if is_lossy else tuple(v for v in few if 0 < v <= 0.9 * top and _is_plateau(values == v)),
        is_coloured=is_coloured,
        is_cut_out=is_cut_out,
        is_lossy=is_lossy,
        ignored=None if decoded.ignored is None else float(decoded.ignored.mean()),
        flaw=_flaw(values, found),
        thumb=cv2.resize(mask.astype(np.uint8) * 255, (THUMB_SIDE, THUMB_SIDE), interpolation=cv2.INTER_AREA),
    )


def _histogram(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.dtype != np.uint8:
        return np.unique(values[np.isfinite(values)], return_counts=True)
    counts = np.bincount(values.ravel(), minlength=256)
    found = np.flatnonzero(counts)
    return found, counts[found]


def _is_plateau(area: np.ndarray) -> bool:
    return int(cv2.erode(area.astype(np.uint8), np.ones((3, 3), np.uint8)).sum()) >= PLATEAU


def _colours(file: Image.Image) -> tuple[bool, bool]:
    """Return whether colours differ, and whether colours and transparency both vary."""
    if file.mode in ("1", "L", "F") or file.mode.startswith("I"):
        return False, False
    rgba = np.asarray(file.convert("RGBA"))
    rgb, alpha = rgba[..., :3], rgba[..., 3]
    coloured = bool((rgb.max(-1).astype(np.int16) - rgb.min(-1) > 16).any())
    varies = bool((rgb != rgb[:1, :1]).any())
    return coloured and varies, varies and int(alpha.min(initial=255)) < int(alpha.max(initial=0))


def _flaw(values: np.ndarray, found: np.ndarray) -> str | None:
    if values.dtype != np.uint8 and (bad := np.count_nonzero(~np.isfinite(values))):
        return f"{bad} values that are no number (NaN or infinite)"
    return f"negative values, down to {found.min():g}" if found.size and found.min() < 0 else None
