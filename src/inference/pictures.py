"""Anything that is a picture, as uint8 RGB (H, W, 3), upright: a path, bytes, a Pillow image, an array."""

from __future__ import annotations

import io
from functools import cache
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeAlias

import cv2
import numpy as np
from PIL import Image

from src.data.readers import END_MARKERS, TAIL_BYTES, header_of, open_image, upright_rgb
from src.utils.errors import UserError

AnyPicture: TypeAlias = str | PathLike[str] | bytes | Image.Image | np.ndarray

JPEG_START, JPEG_END = next(iter(END_MARKERS.items()))
UPRIGHT = 1
"""The EXIF orientation of a picture that is stored as it is shown."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        name: its file's name, or empty for one out of memory.
        image: uint8 (H, W, 3) RGB, upright.
    """

    name: str
    image: np.ndarray

    def blank(self) -> Picture:
        """Return a black picture of the same name and size that takes no memory."""
        return Picture(self.name, np.broadcast_to(np.uint8(0), self.image.shape))


def read_picture(source: AnyPicture) -> Picture:
    """Decode a picture as `src.data.readers.read_image` does, whatever it is given as.

    Pillow images are turned as their EXIF tag says. Grey, palette, CMYK and 16-bit pictures are converted; transparency
    is dropped.

    Args:
        source: a file, the bytes of one, a Pillow image, or an RGB array, uint8 (H, W, 3).

    Raises:
        UserError: no picture, one that is cut short, or an array of another kind.
    """
    if isinstance(source, np.ndarray):
        return Picture("", _checked(source))
    if isinstance(source, Image.Image):
        return Picture(Path(getattr(source, "filename", "")).name, upright_rgb(source))
    if isinstance(source, bytes):
        return Picture("", _decode(source, "the picture"))
    path = Path(source)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else f'cannot be read ({error})'}"
        ) from error
    return Picture(path.name, _decode(content, str(path)))


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise UserError(
            f"a picture as an array must be uint8 (height, width, 3) in RGB; this one is {array.dtype} {array.shape}"
        )
    return np.ascontiguousarray(array)


def _decode(content: bytes, name: str) -> np.ndarray:
    with open_image(io.BytesIO(content), name) as file:
        if _is_plain_jpeg(content, file) and opencv_decodes_alike():
            image = _decode_by_opencv(content)
            if image is not None:
                return image
        return upright_rgb(file)


def _is_plain_jpeg(content: bytes, file: Image.Image) -> bool:
    """Return whether a file is a whole upright JPEG in three colours; OpenCV would fill up a cut one with grey."""
    header = header_of(file)
    is_whole = content.startswith(JPEG_START) and JPEG_END in content[-TAIL_BYTES:]
    return is_whole and header.mode == "RGB" and header.orientation == UPRIGHT


def _decode_by_opencv(content: bytes) -> np.ndarray | None:
    """Return the pixels of a JPEG; Pillow spends half its time on copies out of its four bytes per pixel."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=image)


@cache
def opencv_decodes_alike() -> bool:
    """Return whether the installed OpenCV decodes a JPEG to the very pixels that the installed Pillow does.

    Each brings its own libjpeg-turbo.
    """
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8))
    for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
        memory = io.BytesIO()
        noise.save(memory, "JPEG", quality=90, subsampling=subsampling)
        decoded = _decode_by_opencv(memory.getvalue())
        if decoded is None or not np.array_equal(decoded, np.asarray(Image.open(memory))):
            return False
    return True
