"""Pictures to files: a fast PNG, WebP, and writes that leave a whole file or none."""

from __future__ import annotations

import io
import os
import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from src.utils.errors import UserError

LARGEST_WEBP = 16383
"""Pixels on a side; the format has no more."""
WEBP_QUALITY = 90
"""Of pictures in colour; grey maps and transparency are kept without loss."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_UP = 2
_FASTEST = 1
_BAND = 128


def encode(picture: np.ndarray, file_format: str) -> bytes:
    """Return a grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) uint8 picture as the bytes of a ``png`` or ``webp`` file.

    Raises:
        UserError: WebP of a picture that the format cannot hold.
    """
    return encode_png(picture) if file_format == "png" else encode_webp(picture)


def encode_png(picture: np.ndarray) -> bytes:
    """Return a uint8 picture as PNG: each row less the one above, compressed at zlib's fastest level.

    A third of the time of Pillow's fastest, which tries all filters on every row, and files of the same size for masks.
    """
    height, width = picture.shape[:2]
    channels = picture.shape[2] if picture.ndim == 3 else 1
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    content = _compressed(np.ascontiguousarray(picture).reshape(height, width * channels))
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _compressed(rows: np.ndarray) -> bytes:
    """Return rows of bytes (n, L) filtered and compressed, a band at a time: a filtered copy of a photograph would be as large as it."""
    compressor, parts = zlib.compressobj(_FASTEST), []
    for top in range(0, len(rows), _BAND):
        band = rows[top : top + _BAND]
        filtered = np.empty((len(band), 1 + rows.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        filtered[0, 1:] = band[0] - rows[top - 1] if top else band[0]
        np.subtract(band[1:], band[:-1], out=filtered[1:, 1:])
        parts.append(compressor.compress(filtered.data))
    return b"".join((*parts, compressor.flush()))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(content, zlib.crc32(kind)))


def encode_webp(picture: np.ndarray) -> bytes:
    """Return a uint8 picture as WebP, without loss unless it is RGB."""
    if max(picture.shape[:2]) > LARGEST_WEBP:
        size = f"{picture.shape[1]}×{picture.shape[0]}"
        raise UserError(f"a WebP file holds at most {LARGEST_WEBP} pixels on a side, the picture is {size}; take format=png")
    memory = io.BytesIO()
    is_rgb = picture.ndim == 3 and picture.shape[2] == 3
    options: dict[str, Any] = {"quality": WEBP_QUALITY} if is_rgb else {"lossless": True, "exact": True, "quality": 0, "method": 0}
    Image.fromarray(picture).save(memory, "WEBP", **options)
    return memory.getvalue()


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside its target, then rename it: a process killed meanwhile leaves no part of a file under the target's name.

    Raises:
        OSError: the folder takes no file; what was at ``path`` is unchanged.
    """
    temporary = temporary_beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def temporary_beside(path: Path) -> Path:
    """Return the hidden name, with the same suffix, under which this process writes a file before it is whole."""
    return path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
