"""Pictures of every kind are the pixels that training reads."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from src.data.readers import read_image
from src.inference.pictures import opencv_decodes_alike, read_picture
from src.utils.errors import UserError

ORIENTATION = 0x0112


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    """Return a Pillow image as the bytes of a file."""
    memory = io.BytesIO()
    picture.save(memory, kind, **options)
    return memory.getvalue()


def pictures(photograph: np.ndarray) -> dict[str, bytes]:
    """Return a file of each kind by its name."""
    rgb = Image.fromarray(photograph)
    turned = Image.Exif()
    turned[ORIENTATION] = 6
    deep = Image.fromarray(photograph[..., 0].astype(np.uint16) * 257)
    return {
        "plain.jpg": encoded(rgb, "JPEG"),
        "progressive.jpg": encoded(rgb, "JPEG", progressive=True, subsampling=0),
        "grey.jpg": encoded(rgb.convert("L"), "JPEG"),
        "cmyk.jpg": encoded(rgb.convert("CMYK"), "JPEG"),
        "turned.jpg": encoded(rgb, "JPEG", exif=turned),
        "rgba.png": encoded(rgb.convert("RGBA"), "PNG"),
        "palette.png": encoded(rgb.convert("P"), "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "one_pixel.png": encoded(rgb.crop((0, 0, 1, 1)), "PNG"),
        "picture.webp": encoded(rgb, "WEBP"),
    }


def test_files_bytes_and_pillow_images_are_what_training_reads(tmp_path, photograph):
    for name, content in pictures(photograph).items():
        (tmp_path / name).write_bytes(content)
        expected = read_image(tmp_path / name)
        assert expected.dtype == np.uint8
        for source in (tmp_path / name, str(tmp_path / name), content, Image.open(tmp_path / name)):
            np.testing.assert_array_equal(
                read_picture(source).image, expected, err_msg=f"{name} as {type(source).__name__}"
            )
    assert read_picture(tmp_path / "turned.jpg").image.shape == (70, 50, 3)
    assert read_picture(tmp_path / "turned.jpg").name == "turned.jpg"


def test_the_installed_opencv_is_used_for_jpeg():
    assert opencv_decodes_alike(), "decoding is correct all the same, but slower: Pillow does it"


def test_arrays_are_rgb_of_8_bits(photograph):
    assert read_picture(photograph).image is photograph
    for wrong in (photograph[..., 0], photograph.astype(float), photograph[:0]):
        with pytest.raises(UserError, match=r"uint8 \(height, width, 3\)"):
            read_picture(wrong)


def test_what_is_no_picture_is_named(tmp_path, photograph):
    whole = pictures(photograph)["plain.jpg"]
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.png").write_text("no picture")
    for name, words in (
        ("cut.jpg", r"cut\.jpg: cannot be read"),
        ("text.png", r"text\.png: not a readable"),
        ("none.png", "no such file"),
    ):
        with pytest.raises(UserError, match=words):
            read_picture(tmp_path / name)
    with pytest.raises(UserError, match="the picture: not a readable image"):
        read_picture(b"no picture")


def test_a_blank_picture_takes_no_memory(photograph):
    blank = read_picture(photograph).blank()
    assert blank.image.shape == photograph.shape
    assert blank.image.strides == (0, 0, 0)
