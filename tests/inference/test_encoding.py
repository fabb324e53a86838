"""Files: lossless where they must be."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from src.inference.encoding import LARGEST_WEBP, encode, encode_png
from src.utils.errors import UserError


@pytest.mark.parametrize("shape", [(1, 1), (300, 7), (129, 40, 3), (2, 260, 4)])
def test_png_keeps_every_pixel(shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(encode_png(picture))) as file:
        assert file.mode == {2: "L", 3: "RGB"}.get(len(shape) if shape[-1] != 4 else 0, "RGBA")
        np.testing.assert_array_equal(np.asarray(file), picture)


def test_webp_keeps_masks_and_transparency():
    cutout = np.random.default_rng(0).integers(0, 256, (20, 30, 4), dtype=np.uint8)
    for picture in (cutout, cutout[..., 3]):
        with Image.open(io.BytesIO(encode(picture, "webp"))) as file:
            decoded = np.asarray(file)
        np.testing.assert_array_equal(decoded if picture.ndim == 3 else decoded[..., 0], picture)
    with pytest.raises(
        UserError, match=f"at most {LARGEST_WEBP} pixels on a side, the picture is 16384×1; take format=png"
    ):
        encode(np.zeros((1, LARGEST_WEBP + 1), np.uint8), "webp")
