"""The result of a prediction: the mask of a picture, and everything that is made from it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np

from src.inference.encoding import encode
from src.inference.network import RawMask
from src.inference.pictures import AnyPicture, Picture, read_picture
from src.inference.regions import TOLERANCE, Region, find_regions
from src.utils.errors import UserError
from src.utils.whole_file import write_whole

TYPES = ("map", "cutout", "overlay", "on", "json")
"""What can be saved of a result; JSON is text, the others are pictures of the picture's own size."""
FORMATS = ("png", "webp")

Background: TypeAlias = str | Sequence[int] | AnyPicture
COLOURS = {"white": (255, 255, 255), "green": (0, 177, 64)}
"""Backgrounds by name; green is that of a studio's green screen."""
BLUR = "blur"

TINT = (255, 64, 32)
STRENGTH = 0.45
"""Opacity of the overlay's tint at probability 1."""
BAND = 1 << 20
"""Pixels that are mixed at a time: the intermediate values of a whole photograph take hundreds of megabytes."""


class Result:
    """The mask of one picture. Everything but the network's own output is computed when it is first asked for.

    Attributes:
        name: the picture's file name; empty for one out of memory.
        image: the picture, uint8 RGB (H, W, 3), upright.
        seconds: wall time from the file to the network's output; in a batch, the picture's share.
    """

    def __init__(self, picture: Picture, raw: RawMask, seconds: float) -> None:
        self.name, self.image = picture
        self.seconds = seconds
        self._raw = raw

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Result({self.name or 'picture'}, {width}×{height}, {self.seconds:.3f} s)"

    @cached_property
    def mask(self) -> np.ndarray:
        """Probability of each pixel to be object, float32 (H, W) in [0, 1]."""
        return self._raw.probabilities(*self.image.shape[:2])

    @cached_property
    def mask8(self) -> np.ndarray:
        """The mask as grey levels, uint8 (H, W), 0 background … 255 object."""
        return self._raw.levels(*self.image.shape[:2])

    def levels(self, threshold: float | None = None) -> np.ndarray:
        """Return `mask8`; with a threshold in [0, 1] 255 above it and 0 elsewhere."""
        return self.mask8 if threshold is None else (self.mask8 > 255 * threshold).astype(np.uint8) * np.uint8(255)

    def cutout(self, threshold: float | None = None) -> np.ndarray:
        """Return the picture with the mask as its transparency, uint8 RGBA (H, W, 4)."""
        return np.dstack((self.image, self.levels(threshold)))

    def on(self, background: Background, threshold: float | None = None) -> np.ndarray:
        """Return the object on another background, uint8 RGB (H, W, 3).

        Args:
            background: ``white``, ``green``, ``blur`` (the picture itself), three values 0 … 255 (RGB), or a picture,
                which is scaled to cover this one and cut to its size.
            threshold: probability at which the object is cut out hard; None mixes by probability.
        """
        return _mixed(self.image, _background(background, self.image), self.levels(threshold))

    def overlay(self, threshold: float = 0.5) -> np.ndarray:
        """Return the picture tinted where the object is, uint8 (H, W, 3).

        An outline is drawn where the probability crosses the threshold.
        """
        tint = np.array(TINT, np.uint8)
        opacity = (self.mask8 * np.float32(STRENGTH)).round().astype(np.uint8)
        drawn = _mixed(np.broadcast_to(tint, self.image.shape), self.image, opacity)
        drawn[_outline(self.mask8 > 255 * threshold)] = tint
        return drawn

    def regions(self, threshold: float = 0.5) -> list[Region]:
        """Return the connected parts of the mask, the largest first, without specks below 1/10,000 of the picture."""
        return find_regions(self.mask8, threshold)

    def boxes(self, threshold: float = 0.5) -> np.ndarray:
        """Return the boxes of :meth:`regions`, int (n, 4): left, top, width, height in pixels."""
        return np.array([region.box for region in self.regions(threshold)], int).reshape(-1, 4)

    def outlines(self, threshold: float = 0.5, tolerance: float = TOLERANCE) -> list[np.ndarray]:
        """Return the outer border of each of :meth:`regions` as a polygon, float32 (n, 2): x, y in pixels.

        Args:
            threshold: what exceeds it is object.
            tolerance: how far a polygon may be from the pixels' edges; 0 follows every edge.
        """
        return [region.outline(tolerance) for region in self.regions(threshold)]

    def to_json(self, threshold: float = 0.5, tolerance: float = TOLERANCE) -> dict[str, Any]:
        """Return the regions in COCO's form: ``images``, ``annotations`` (polygons, boxes, areas), ``categories``.

        Each annotation has a ``score`` beside COCO's keys: the mean probability inside. Areas exclude holes, polygons
        fill them.
        """
        height, width = self.image.shape[:2]
        image = {"id": 1, "file_name": self.name, "width": width, "height": height}
        annotations = [
            _annotation(number, region, tolerance) for number, region in enumerate(self.regions(threshold), start=1)
        ]
        return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "object"}]}

    def drawn(self, kind: str, background: Background = "white", threshold: float | None = None) -> np.ndarray:
        """Return one of `TYPES` that is a picture, uint8.

        Args:
            kind: ``map``, ``cutout``, ``overlay`` or ``on``.
            background: of ``on``.
            threshold: None keeps soft edges, and 0.5 for the outline of ``overlay``.
        """
        if kind == "overlay":
            return self.overlay(0.5 if threshold is None else threshold)
        if kind == "on":
            return self.on(background, threshold)
        return self.cutout(threshold) if kind == "cutout" else self.levels(threshold)

    def encoded(
        self, kind: str, file_format: str = "png", background: Background = "white", threshold: float | None = None
    ) -> bytes:
        """Return the file of one of `TYPES` as bytes; see :meth:`drawn`."""
        if kind == "json":
            return json.dumps(self.to_json(0.5 if threshold is None else threshold)).encode()
        return encode(self.drawn(kind, background, threshold), file_format)

    def save(
        self,
        path: str | PathLike[str],
        kind: str | None = None,
        background: Background = "white",
        threshold: float | None = None,
    ) -> None:
        """Write a file, whole or not at all, and its folder if need be; an existing one is replaced.

        Args:
            path: its suffix says the format: ``.png``, ``.webp`` or ``.json``.
            kind: one of `TYPES`; None is ``json`` for a JSON file and ``map`` for a picture.
            background: of ``on``, see there.
            threshold: see :meth:`drawn`.

        Raises:
            UserError: another suffix or kind.
            OSError: the folder is not writable.
        """
        target = Path(path)
        suffix = target.suffix.lower().removeprefix(".")
        kind = kind or ("json" if suffix == "json" else "map")
        if kind not in TYPES or suffix not in (("json",) if kind == "json" else FORMATS):
            raise UserError(
                f"{target}: cannot save {kind!r} there; types are {', '.join(TYPES)}; "
                "suffixes .png, .webp, and .json for json"
            )
        write_whole(target, self.encoded(kind, suffix, background, threshold))


def _annotation(number: int, region: Region, tolerance: float) -> dict[str, Any]:
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "iscrowd": 0,
        "segmentation": [[round(float(value), 1) for value in region.outline(tolerance).ravel()]],
        "bbox": list(region.box),
        "area": region.area,
        "score": round(region.probability, 4),
    }


def _mixed(front: np.ndarray, back: np.ndarray, opacity: np.ndarray) -> np.ndarray:
    """Return front · opacity/255 + back · (1 − opacity/255), rounded; uint8 (H, W, 3) each, opacity (H, W)."""
    mixed = np.empty_like(back, subok=False, shape=front.shape)
    rows = max(1, BAND // max(1, front.shape[1]))
    for top in range(0, len(front), rows):
        band = slice(top, top + rows)
        weight = opacity[band, :, None].astype(np.uint16)
        mixed[band] = (front[band] * weight + back[band] * (255 - weight) + 127) // 255
    return mixed


def _outline(inside: np.ndarray) -> np.ndarray:
    """Return where a line along the border of a bool map is drawn: 1/250 of the shorter side to either side of it."""
    width = max(1, round(min(inside.shape) / 250))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    map_ = inside.astype(np.uint8)
    return cv2.dilate(map_, cross, iterations=width) > cv2.erode(map_, cross, iterations=width)


def _background(background: Background, image: np.ndarray) -> np.ndarray:
    """Return the background for a picture, uint8 of its shape."""
    if isinstance(background, str) and background == BLUR:
        return _blurred(image)
    if isinstance(background, str) and background in COLOURS:
        background = COLOURS[background]
    if isinstance(background, Sequence) and not isinstance(background, (str, bytes)):
        return np.broadcast_to(colour(background), image.shape)
    return _covering(read_picture(background).image, image.shape[0], image.shape[1])


def colour(values: Sequence[int]) -> np.ndarray:
    """Return three RGB values as uint8 (3,).

    Raises:
        UserError: not three whole numbers from 0 to 255.
    """
    if len(values) != 3 or any(not isinstance(value, int) or not 0 <= value <= 255 for value in values):
        raise UserError(f"background: a colour is three whole numbers from 0 to 255, got {list(values)}")
    return np.array(values, np.uint8)


def _blurred(image: np.ndarray, side: int = 256) -> np.ndarray:
    """Return a picture out of focus: reduced to ``side`` pixels, blurred there, enlarged again.

    The cost does not grow with the blur.
    """
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    small = cv2.resize(
        image, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    sigma = max(small.shape[:2]) / 50
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), sigma), (width, height), interpolation=cv2.INTER_LINEAR)


def _covering(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the middle of a picture that is scaled to cover (height, width)."""
    factor = max(height / picture.shape[0], width / picture.shape[1])
    size = (max(width, round(picture.shape[1] * factor)), max(height, round(picture.shape[0] * factor)))
    scaled = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    top, left = (scaled.shape[0] - height) // 2, (scaled.shape[1] - width) // 2
    return scaled[top : top + height, left : left + width]
