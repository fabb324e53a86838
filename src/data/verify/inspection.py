"""The full check of one pair: decode both files, judge the mask, and keep a small picture for finding copies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from src.data.masks import MaskFacts, decode_mask
from src.data.readers import open_image, read_image, read_judged
from src.data.verify.damage import damage
from src.data.verify.findings import Finding
from src.data.verify.masks import judge_mask
from src.utils.errors import UserError

SIGNATURE_SIDE = 32
MIN_SIDE = 32


@dataclass
class Inspection:
    """What is known about one pair; None where a file cannot be decoded.

    Attributes:
        name: the pair's name.
        findings: errors, warnings and notes.
        image_mode: Pillow's name of the image's pixel format.
        size: (width, height) of the image.
        mask: the facts about the mask.
        mask_path: the mask's file.
        signature: float32 (32, 32) grey levels, see `signature`.
    """

    name: str
    findings: list[Finding] = field(default_factory=list)
    image_mode: str | None = None
    size: tuple[int, int] | None = None
    mask: MaskFacts | None = None
    mask_path: Path | None = None
    signature: np.ndarray | None = None


def inspect(
    name: str, image_path: Path, mask_path: Path, valid_path: Path | None = None, ignore: int | None = None
) -> Inspection:
    """Decode a pair and judge it; errors become findings.

    Args:
        name: the pair's name.
        image_path: the image.
        mask_path: the mask.
        valid_path: the field of view, if there is one.
        ignore: the value of ignored pixels in the mask.
    """
    result = Inspection(name, mask_path=mask_path)
    for path, judge in ((image_path, _image), (mask_path, partial(_mask, ignore)), (valid_path, _decoded)):
        if path is None:
            continue
        try:
            result.findings += judge(path, result)  # first: its decoder refuses bombs, `damage` doesn't
            broken = damage(path.read_bytes())
            if broken is not None:
                text = f"broken inside ({broken}); fetch the file again"
                result.findings.append(Finding("warning" if _is_careless(broken) else "error", "damaged", path, text))
        except (UserError, OSError) as error:
            result.findings.append(Finding("error", "unreadable", path, str(error).removeprefix(f"{path}: ")))
    return result


def _is_careless(broken: str) -> bool:
    """Return whether libjpeg only complains about a few surplus bytes, as some writers leave, not about lost pixels."""
    match = re.search(r"(\d+) extraneous bytes", broken)
    return match is not None and int(match.group(1)) <= 16


def signature(image: np.ndarray) -> np.ndarray:
    """Return uint8 (H, W, 3) as float32 (32, 32): slightly smoothed mean grey levels.

    They hardly differ between a picture and its re-encoded copies.
    """
    small = (
        cv2.resize(image, (SIGNATURE_SIDE, SIGNATURE_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32).mean(-1)
    )
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
        yield Finding(
            "warning",
            "tiny",
            path,
            f"{result.size[0]}×{result.size[1]} pixels; networks see at least {MIN_SIDE}×{MIN_SIDE}",
        )
    if np.ptp(result.signature) < 1:
        yield Finding("warning", "blank", path, "one colour all over")


def _mask(ignore: int | None, path: Path, result: Inspection) -> Iterator[Finding]:
    result.mask = read_judged(path, ignore)[1]
    yield from judge_mask(path, result.mask)


def _decoded(path: Path, result: Inspection) -> Iterator[Finding]:
    """Check a field of view: only that it can be read and is not empty."""
    with open_image(path) as file:
        if not decode_mask(file).values.any():
            yield Finding("error", "empty", path, "no pixel is inside the field of view")
