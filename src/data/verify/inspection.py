"""The full check of one pair: both files decoded, the mask judged as a mask, and a small picture kept to find copies by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from src.data.readers import mask_values, open_image, read_image, value_range
from src.data.verify.damage import damage
from src.data.verify.findings import Finding
from src.utils.errors import UserError

GREY_SHARE = 0.05
"""Masks with more pixels than this between 10 and 90 % of their range are pictures; JPEG masks of Kvasir-SEG have 0.007 at most."""
INVERTED_BORDER = 0.9
"""Foreground on more of the border than this, and on half of the image, looks inverted; none of 2300 real masks gets there."""
MAX_LABELS = 16
"""A mask with grey levels, but no more of them than this, is a map of labels and no picture."""
SIGNATURE_SIDE = 32
MIN_SIDE = 32


@dataclass
class Inspection:
    """What one pair is: `signature` float32 (32, 32) grey levels; `share` of object pixels; None where a file cannot be decoded."""

    name: str
    findings: list[Finding] = field(default_factory=list)
    image_mode: str | None = None
    mask_mode: str | None = None
    size: tuple[int, int] | None = None
    share: float | None = None
    signature: np.ndarray | None = None


def inspect(name: str, image_path: Path, mask_path: Path, valid_path: Path | None = None) -> Inspection:
    """Decode a pair and judge it; nothing is raised."""
    result = Inspection(name)
    for path, judge in ((image_path, _image), (mask_path, _mask), (valid_path, _decoded)):
        if path is None:
            continue
        try:
            result.findings += judge(path, result)  # first: its decoder refuses bombs, the search for damage doesn't
            broken = damage(path.read_bytes())
            if broken is not None:
                text = f"broken inside ({broken}); fetch the file again"
                result.findings.append(Finding("warning" if _is_careless(broken) else "error", "damaged", path, text))
        except (UserError, OSError) as error:
            result.findings.append(Finding("error", "unreadable", path, str(error).removeprefix(f"{path}: ")))
    return result


def _is_careless(broken: str) -> bool:
    """Whether libjpeg complains about a few bytes too many, which some writers leave, and not about lost pixels."""
    match = re.search(r"(\d+) extraneous bytes", broken)
    return match is not None and int(match.group(1)) <= 16


def signature(image: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) to float32 (32, 32): slightly smoothed mean grey levels, the same for a picture and its re-encoded copies."""
    small = cv2.resize(image, (SIGNATURE_SIDE, SIGNATURE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).mean(-1)
    return cv2.GaussianBlur(small, (3, 3), 0)


def _image(path: Path, result: Inspection) -> Iterator[Finding]:
    with open_image(path) as file:
        result.image_mode, frames = file.mode, getattr(file, "n_frames", 1)
    image = read_image(path)
    result.size = (image.shape[1], image.shape[0])
    result.signature = signature(image)
    if result.image_mode not in ("RGB", "L"):
        yield Finding("note", "mode", path, f"image of mode {result.image_mode}, read as RGB")
    if frames > 1:
        yield Finding("warning", "frames", path, f"{frames} frames, of which the first is read")
    if min(result.size) < MIN_SIDE:
        yield Finding("warning", "tiny", path, f"{result.size[0]}×{result.size[1]} pixels; networks see at least {MIN_SIDE}×{MIN_SIDE}")
    if np.ptp(result.signature) < 1:
        yield Finding("warning", "blank", path, "one colour all over")


def _mask(path: Path, result: Inspection) -> Iterator[Finding]:
    with open_image(path) as file:
        result.mask_mode = file.mode
        values = mask_values(file)
        coloured = file.mode in ("RGB", "RGBA", "P", "CMYK") and _is_coloured(file)
    top = value_range(values)
    mask = values > top / 2
    result.share = float(mask.mean())
    levels = values / top
    middle = float(((levels > 0.1) & (levels < 0.9)).mean())
    found = np.unique(values) if middle > GREY_SHARE else values[:0]
    if 0 < found.size <= MAX_LABELS:
        text = f"values {', '.join(f'{value:g}' for value in found)} of {top:g}; labels? write objects as {top:g} and the rest as 0"
        yield Finding("error", "labels", path, text)
    elif found.size:
        text = f"not a mask but a grey picture: {middle:.0%} of its pixels lie between black and white"
        yield Finding("error", "no mask", path, text)
    elif not mask.any() and values.any():
        text = f"values up to {values.max():g} of {top:g}, so everything is background; labels? write objects as {top:g}, or as 1 of 0/1"
        yield Finding("error", "labels", path, text)
    elif not mask.any():
        yield Finding("warning", "empty", path, "no object at all")
    elif mask.all():
        yield Finding("warning", "full", path, "everything is object")
    elif result.share > 0.5 and _border(mask) > INVERTED_BORDER:
        yield Finding(
            "warning", "inverted", path, f"{result.share:.0%} object, {_border(mask):.0%} of the border: black and white swapped?"
        )
    elif bool(((levels > 0) & (levels < 1)).any()):
        yield Finding("warning", "grey", path, f"grey levels (JPEG?), cut at half: above {top / 2:g} of {top:g} is object")
    if coloured:
        yield Finding("warning", "colour", path, "a coloured mask; a pixel is object if its strongest channel is above half")
    elif result.mask_mode not in ("1", "L"):
        yield Finding("note", "mode", path, f"mask of mode {result.mask_mode}, read by its brightest channel")
    if top == 1 and mask.any():
        yield Finding("note", "0/1", path, "values 0 and 1, read as background and object")


def _decoded(path: Path, result: Inspection) -> Iterator[Finding]:
    """A field of view: no judgement but that it can be read and holds something."""
    with open_image(path) as file:
        if not mask_values(file).any():
            yield Finding("error", "empty", path, "no pixel is inside the field of view")


def _is_coloured(file: Image.Image) -> bool:
    rgb = np.asarray(file.convert("RGB"))
    return bool((rgb.max(-1).astype(np.int16) - rgb.min(-1) > 16).any())


def _border(mask: np.ndarray) -> float:
    return float(np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean())
