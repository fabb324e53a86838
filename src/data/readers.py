"""Image files to arrays: one way to read an image; how a mask is read is decided in `masks`.

Formats: those that Pillow reads (`EXTENSIONS`), in any of its modes; of an animation or a multi-page file the first
frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from src.data.masks import MaskFacts, MaskValues, decode_mask, facts_of, value_range
from src.utils.errors import UserError

EXTENSIONS = frozenset(
    """
    .apng .avif .avifs .blp .bmp .bw .cur .dcx .dds .dib .fit .fits .flc .fli .ftc .ftu .gbr .gif .icb .icns .ico .im
    .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .msp .pbm .pcd .pcx .pfm .pgm .png .pnm .ppm .psd .pxr .qoi .ras
    .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm
    """.split()  # noqa: SIM905 (a list would take fifty lines)
)
"""Pillow's, without what it only recognises (HDF5, GRIB, MPEG …) or hands to another program (PostScript)."""
COMMON = "JPEG, PNG, TIFF, WebP, AVIF, JPEG 2000, BMP, GIF, TGA, PPM and what else Pillow reads"
"""The formats in words."""

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

    Attributes:
        size: (width, height) as stored.
        orientation: the EXIF tag; 1 is upright.
        mode: Pillow's name of the pixel format.
    """

    size: tuple[int, int]
    orientation: int = 1
    mode: str = ""

    @property
    def upright_size(self) -> tuple[int, int]:
        """Return (width, height) once the orientation is applied."""
        return self.size[::-1] if self.orientation >= 5 else self.size


class Truth(NamedTuple):
    """A mask and the pixels that count.

    Attributes:
        mask: bool (H, W).
        valid: bool (H, W), False at ignored pixels; None without an ignore value.
    """

    mask: np.ndarray
    valid: np.ndarray | None


def read_header(path: Path | str) -> Header:
    """Return size and orientation without decoding pixels.

    Raises:
        UserError: the file is not an image.
    """
    with open_image(path) as file:
        return header_of(file)


def read_whole_header(path: Path | str) -> Header:
    """Return the header as `read_header` does, and check that the file is complete.

    A JPEG or PNG is complete when its last bytes include the end marker; files without it, and other formats, are
    decoded.

    Raises:
        UserError: the file is not an image, or was cut short.
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
    """Return the orientation to apply to a mask, given the headers of its image and of itself.

    A mask with a tag of its own keeps it. For one without (PNG masks) we follow the field's readers: they ignore the
    image's tag, so a mask that works with them matches the stored pixels and must turn with the image, unless its size
    fits only the upright image.
    """
    if mask.orientation != 1 or mask.size != image.size:
        return mask.orientation
    return image.orientation


def read_image(path: Path | str, shrink_to: int | None = None) -> np.ndarray:
    """Return an image file as uint8 (H, W, 3) RGB, upright.

    Grey, palette, bilevel, CMYK and 16-bit files are converted; transparency is dropped, as the field's
    `convert("RGB")` does.

    Args:
        path: the file.
        shrink_to: a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as no side gets smaller
            than this, in pixels.

    Raises:
        UserError: the file is not a readable image.
    """
    with open_image(path) as file:
        return upright_rgb(file, shrink_to)


def read_mask(path: Path | str, image: Header | None = None) -> np.ndarray:
    """Return a mask file as bool (H, W), upright; given its image's header, turned like the image (`mask_orientation`).

    `src.data.masks` decides what counts as object.

    Raises:
        UserError: the file is not a readable image.
    """
    return read_truth(path, image)[0]


def read_truth(path: Path | str, image: Header | None = None, ignore: int | None = None) -> Truth:
    """Return a mask as `read_mask` does, and the pixels that count: those whose value is not `ignore`."""
    with open_image(path) as file:
        own, decoded = header_of(file), decode_mask(file, ignore)
    return _upright_truth(decoded, own.orientation if image is None else mask_orientation(image, own))


def read_judged(path: Path | str, ignore: int | None = None) -> tuple[Truth, MaskFacts]:
    """Return a mask as `read_truth` does without an image, and the facts by which it is judged."""
    with open_image(path) as file:
        own, decoded = header_of(file), decode_mask(file, ignore)
        facts = facts_of(file, decoded)
    return _upright_truth(decoded, own.orientation), facts


def _upright_truth(decoded: MaskValues, orientation: int) -> Truth:
    method = _TRANSPOSE.get(orientation)

    def upright(values: np.ndarray) -> np.ndarray:
        return values if method is None else np.asarray(Image.fromarray(values).transpose(method))

    mask = upright(decoded.values) > decoded.top / 2
    return Truth(mask, None if decoded.ignored is None else ~upright(decoded.ignored))


def read_sample(
    image_path: Path,
    mask_path: Path,
    valid_path: Path | None = None,
    shrink_to: int | None = None,
    exif: bool = True,
    ignore: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return image, mask and the pixels that count; each file is opened once.

    Args:
        image_path: see `read_image`.
        mask_path: see `read_truth`.
        valid_path: a field of view, read like a mask.
        shrink_to: see `read_image`; the image may then be smaller than its masks.
        exif: False: treat the image as upright, whatever its orientation tag says.
        ignore: the value of ignored pixels in the mask.

    Returns:
        Image uint8 (H, W, 3) RGB; mask bool (H, W); bool (H, W), True where pixels count, or None if all do.

    Raises:
        UserError: a file is not a readable image.
    """
    with open_image(image_path) as file:
        header = header_of(file) if exif else Header(file.size)
        image = upright_rgb(file, shrink_to) if exif else np.array(_stored_rgb(file, shrink_to))
    mask, known = read_truth(mask_path, header, ignore)
    view = None if valid_path is None else read_mask(valid_path, header)
    return image, mask, view if known is None else known if view is None else known & view


def upright_rgb(file: Image.Image, shrink_to: int | None = None) -> np.ndarray:
    """Return an opened image as `read_image` does: uint8 (H, W, 3) RGB, turned as its EXIF tag says."""
    method = _TRANSPOSE.get(header_of(file).orientation)
    image = _stored_rgb(file, shrink_to)
    return np.array(image if method is None else image.transpose(method))


def _stored_rgb(file: Image.Image, shrink_to: int | None) -> Image.Image:
    if shrink_to is not None:
        file.draft(None, (shrink_to, shrink_to))
    if file.mode == "F" or file.mode.startswith("I"):
        file = _deep_to_grey(file)
    return file if file.mode == "RGB" else file.convert("RGB")


def _deep_to_grey(file: Image.Image) -> Image.Image:
    # Pillow clips 16-bit to 255 in `convert`, which turns a normal 16-bit photograph white.
    values = np.array(file, dtype=np.float32)
    return Image.fromarray(np.clip(values * (255 / value_range(values)), 0, 255).round().astype(np.uint8))


def header_of(file: Image.Image) -> Header:
    """Return size, orientation and mode of an opened image, without decoding it."""
    orientation = file.getexif().get(_ORIENTATION_TAG, 1)
    return Header(file.size, orientation if orientation in _TRANSPOSE else 1, file.mode)


@contextmanager
def open_image(source: Path | str | BinaryIO, name: str | None = None) -> Iterator[Image.Image]:
    """Open an image with Pillow; errors in its bytes become a `UserError` with the file's name.

    That includes errors while it is decoded inside the context.

    Args:
        source: a path, or an opened binary file.
        name: what errors call it; None is the path.

    Raises:
        UserError: no such file, not an image, too large to be decoded safely, or broken.
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
