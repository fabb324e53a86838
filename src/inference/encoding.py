"""Pictures as the bytes of files: a fast PNG, and WebP."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image

from src.utils.errors import UserError

LARGEST_WEBP = 16383
"""Largest side in pixels that the format allows."""
WEBP_QUALITY = 90
"""Quality of pictures in colour; grey maps and transparency are kept without loss."""

_FAST_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_TO_OPENCV = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}


def encode(picture: np.ndarray, file_format: str) -> bytes:
    """Return a grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) uint8 picture as the bytes of a ``png`` or ``webp`` file.

    Raises:
        UserError: the picture is too large for WebP.
    """
    return encode_png(picture) if file_format == "png" else encode_webp(picture)


def encode_png(picture: np.ndarray) -> bytes:
    """Return a uint8 picture as PNG: each row minus the one above, compressed at zlib's fastest level.

    OpenCV encodes it: Pillow's fastest level tries all filters on every row and takes twice as long.
    """
    turned = picture if picture.ndim == 2 else cv2.cvtColor(picture, _TO_OPENCV[picture.shape[2]])
    return cv2.imencode(".png", turned, _FAST_PNG)[1].tobytes()


def encode_webp(picture: np.ndarray) -> bytes:
    """Return a uint8 picture as WebP, without loss unless it is RGB.

    Raises:
        UserError: a side is longer than `LARGEST_WEBP`.
    """
    if max(picture.shape[:2]) > LARGEST_WEBP:
        size = f"{picture.shape[1]}×{picture.shape[0]}"
        raise UserError(
            f"a WebP file holds at most {LARGEST_WEBP} pixels on a side, the picture is {size}; take format=png"
        )
    memory = io.BytesIO()
    is_rgb = picture.ndim == 3 and picture.shape[2] == 3
    options: dict[str, Any] = (
        {"quality": WEBP_QUALITY} if is_rgb else {"lossless": True, "exact": True, "quality": 0, "method": 0}
    )
    Image.fromarray(picture).save(memory, "WEBP", **options)
    return memory.getvalue()
