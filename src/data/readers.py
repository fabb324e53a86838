"""Image files to arrays: one way to read an image, one stated rule for what counts as mask.

Formats: .jpg .png .bmp .tif .gif .webp .ppm, in any of Pillow's modes; of an animation or a multi-page file the first frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.utils.errors import UserError

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".ppm", ".pgm", ".pbm"})

END_MARKERS = {b"\xff\xd8": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}
TAIL_BYTES = 4096

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are read. `size` is (width, height) as stored, `orientation` the EXIF tag (1 = upright)."""

    size: tuple[int, int]
    orientation: int = 1

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) once the orientation is applied."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def read_header(path: Path | str) -> Header:
    """Size and orientation without decoding pixels; `UserError` if the file is no image."""
    with _opened(path) as file:
        return _header(file)


def read_whole_header(path: Path | str) -> Header:
    """`read_header`, and a look at whether the file is all there; `UserError` if it was cut short.

    A JPEG or PNG is whole when its end marker stands in its last bytes; what lacks it, and every other format, is decoded.
    """
    header = read_header(path)
    with open(path, "rb") as file:
        start = file.read(8)
        file.seek(0, 2)
        file.seek(max(0, file.tell() - TAIL_BYTES))
        tail = file.read()
    marker = next((end for magic, end in END_MARKERS.items() if start.startswith(magic)), None)
    if marker is None or marker not in tail:
        with _opened(path) as image:
            image.load()
    return header


def mask_orientation(image: Header, mask: Header) -> int:
    """The orientation to apply to a mask, given the headers of its image and of itself.

    A mask with a tag of its own keeps it. Without one (PNG masks), the field's readers decide: they ignore the image's tag, so a mask
    that works with them lies over the stored pixels and must turn with the image, unless its size fits the upright image only.
    """
    if mask.orientation != 1 or mask.size != image.size:
        return mask.orientation
    return image.orientation


def read_image(path: Path | str) -> np.ndarray:
    """An image file as uint8 (H, W, 3) RGB, upright.

    Grey, palette, bilevel, CMYK and 16-bit files are converted; transparency is dropped, as the field's `convert("RGB")` does.
    """
    with _opened(path) as file:
        if file.mode == "F" or file.mode.startswith("I"):
            file = _deep_to_grey(file, _header(file).orientation)
        else:
            file = ImageOps.exif_transpose(file)
        return np.array(file.convert("RGB"))


def read_mask(path: Path | str, orientation: int | None = None) -> np.ndarray:
    """A mask file as bool (H, W), upright; `orientation` replaces the file's own EXIF tag.

    Foreground is what lies above half of the file's value range, and the range is the smallest of 1, 255, 65535 that holds the file's
    maximum: grey > 127 in 8-bit masks (JPEG grey values included), > 0 in 0/1 masks. Colour counts by its strongest channel (red and
    palette masks), transparent pixels are background.
    """
    with _opened(path) as file:
        own = _header(file).orientation
        grey = _mask_values(file)
    method = _TRANSPOSE.get(own if orientation is None else orientation)
    if method is not None:
        grey = np.asarray(Image.fromarray(grey).transpose(method))
    return grey > _value_range(grey) / 2


def _mask_values(file: Image.Image) -> np.ndarray:
    if file.mode in ("1", "L") and "transparency" not in file.info:
        return np.array(file.convert("L")) if file.mode == "1" else np.array(file)
    if file.mode == "F" or file.mode.startswith("I"):
        return np.array(file, dtype=np.float32)
    rgba = np.array(file.convert("RGBA"))
    return np.where(rgba[..., 3] > 127, rgba[..., :3].max(axis=-1), 0).astype(np.uint8)


def _value_range(values: np.ndarray) -> float:
    maximum = float(values.max(initial=0))
    return next((top for top in (1.0, 255.0, 65535.0) if maximum <= top), maximum)


def _deep_to_grey(file: Image.Image, orientation: int) -> Image.Image:
    # Pillow clips 16-bit to 255 in `convert`, which turns a normal 16-bit photograph white.
    values = np.array(file, dtype=np.float32)
    grey = Image.fromarray(np.clip(values * (255 / _value_range(values)), 0, 255).round().astype(np.uint8))
    method = _TRANSPOSE.get(orientation)
    return grey if method is None else grey.transpose(method)


def _header(file: Image.Image) -> Header:
    orientation = file.getexif().get(_ORIENTATION_TAG, 1)
    return Header(file.size, orientation if orientation in _TRANSPOSE else 1)


@contextmanager
def _opened(path: Path | str) -> Iterator[Image.Image]:
    """Pillow's image; whatever goes wrong with its bytes, now or while decoding, becomes a `UserError` with the file's name."""
    try:
        with Image.open(path) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a readable image; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large to be decoded safely ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); replace or remove it") from error
