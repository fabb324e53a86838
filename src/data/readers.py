"""Image files to arrays: one way to read an image, one stated rule for what counts as mask.

Formats: every picture that Pillow reads (`EXTENSIONS`), in any of its modes; of an animation or a multi-page file the first frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from src.utils.errors import UserError

EXTENSIONS = frozenset(
    f".{name}"
    for name in (  # noqa: SIM905
        "jpg jpeg jpe jfif png apng bmp dib tif tiff gif webp avif avifs ppm pgm pbm pnm pfm jp2 j2k j2c jpc jpf jpx tga icb vda vst "
        "pcx dcx dds sgi rgb rgba bw ras psd qoi ico icns cur im msp xbm xpm pcd pxr blp ftc ftu fli flc gbr fit fits"
    ).split()
)
"""What files of pictures are called. Of what Pillow opens this lacks videos, documents that another program draws (.eps, .ps, .wmf, .emf),
and files for which Pillow has no decoder of its own (.h5, .grib …); a test compares it with Pillow."""
USUAL = ".jpg .png .tif .webp .bmp .gif .avif .jp2 .tga .ppm"
"""Examples of them, for messages."""

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
    """What a file says before its pixels are read.

    `size` is (width, height) as stored, `orientation` the EXIF tag (1 = upright), `mode` Pillow's name of the pixels' kind.
    """

    size: tuple[int, int]
    orientation: int = 1
    mode: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) once the orientation is applied."""
        return self.size[::-1] if self.orientation >= 5 else self.size


def read_header(path: Path | str) -> Header:
    """Size and orientation without decoding pixels; `UserError` if the file is no image."""
    with open_image(path) as file:
        return header_of(file)


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
        with open_image(path) as image:
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


def read_image(path: Path | str, shrink_to: int | None = None) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3) RGB, upright.

    Grey, palette, bilevel, CMYK and 16-bit files are converted; transparency is dropped, as the field's `convert("RGB")` does.

    Args:
        path: the file.
        shrink_to: a JPEG may come at a half, a quarter or an eighth of its size, as long as no side gets smaller than this.
    """
    with open_image(path) as file:
        return upright_rgb(file, shrink_to)


def read_mask(path: Path | str, image: Header | None = None) -> np.ndarray:
    """A mask file as bool (H, W), upright; with its image's header turned as the image is (`mask_orientation`).

    Foreground is what lies above half of the file's value range, and the range is the smallest of 1, 255, 65535 that holds the file's
    maximum: grey > 127 in 8-bit masks (JPEG grey values included), > 0 in 0/1 masks. Colour counts by its strongest channel (red and
    palette masks), transparent pixels are background.
    """
    with open_image(path) as file:
        own = header_of(file)
        values = mask_values(file)
    method = _TRANSPOSE.get(own.orientation if image is None else mask_orientation(image, own))
    if method is not None:
        values = np.asarray(Image.fromarray(values).transpose(method))
    return values > value_range(values) / 2


def read_sample(
    image_path: Path, mask_path: Path, valid_path: Path | None = None, shrink_to: int | None = None, exif: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Image, mask and, where there is one, the mask of valid pixels, each file opened once; see `read_image` and `read_mask`.

    With `shrink_to` the image may be smaller than its masks. Without `exif` the image counts as upright, whatever its orientation tag says.
    """
    with open_image(image_path) as file:
        header = header_of(file) if exif else Header(file.size)
        image = upright_rgb(file, shrink_to) if exif else np.array(_stored_rgb(file, shrink_to))
    return image, read_mask(mask_path, header), None if valid_path is None else read_mask(valid_path, header)


def upright_rgb(file: Image.Image, shrink_to: int | None = None) -> np.ndarray:
    """Return an opened picture as `read_image` does: uint8 (H, W, 3) RGB, turned as its EXIF tag says."""
    method = _TRANSPOSE.get(header_of(file).orientation)
    image = _stored_rgb(file, shrink_to)
    return np.array(image if method is None else image.transpose(method))


def _stored_rgb(file: Image.Image, shrink_to: int | None) -> Image.Image:
    if shrink_to is not None:
        file.draft(None, (shrink_to, shrink_to))
    if file.mode == "F" or file.mode.startswith("I"):
        file = _deep_to_grey(file)
    return file if file.mode == "RGB" else file.convert("RGB")


def mask_values(file: Image.Image) -> np.ndarray:
    """The values of an opened mask, (H, W) as stored, before any threshold: uint8, or float32 for deeper files."""
    if file.mode in ("1", "L") and "transparency" not in file.info:
        return np.array(file.convert("L")) if file.mode == "1" else np.array(file)
    if file.mode == "F" or file.mode.startswith("I"):
        return np.array(file, dtype=np.float32)
    rgba = np.array(file.convert("RGBA"))
    return np.where(rgba[..., 3] > 127, rgba[..., :3].max(axis=-1), 0).astype(np.uint8)


def value_range(values: np.ndarray) -> float:
    """What full foreground is in these values: the smallest of 1, 255, 65535 that holds their maximum."""
    maximum = float(values.max(initial=0))
    return next((top for top in (1.0, 255.0, 65535.0) if maximum <= top), maximum)


def _deep_to_grey(file: Image.Image) -> Image.Image:
    # Pillow clips 16-bit to 255 in `convert`, which turns a normal 16-bit photograph white.
    values = np.array(file, dtype=np.float32)
    return Image.fromarray(np.clip(values * (255 / value_range(values)), 0, 255).round().astype(np.uint8))


def header_of(file: Image.Image) -> Header:
    """Return size, orientation and mode of an opened picture, without decoding it."""
    orientation = file.getexif().get(_ORIENTATION_TAG, 1)
    return Header(file.size, orientation if orientation in _TRANSPOSE else 1, file.mode)


@contextmanager
def open_image(source: Path | str | BinaryIO, name: str | None = None) -> Iterator[Image.Image]:
    """Pillow's image; whatever goes wrong with its bytes, now or while decoding, becomes a `UserError` with the file's name.

    Args:
        source: a path, or an opened binary file.
        name: what errors call it; None is the path.
    """
    path = source if name is None else name
    try:
        with Image.open(source) as file:
            yield file
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except UnidentifiedImageError as error:
        raise UserError(f"{path}: not a readable image; replace or remove it") from error
    except Image.DecompressionBombError as error:
        raise UserError(f"{path}: too large to be decoded safely ({error})") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); replace or remove it") from error
