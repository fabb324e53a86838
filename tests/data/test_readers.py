"""Formats, modes and orientation of images and masks."""

import functools
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from src.data.layouts import SetFolders
from src.data.readers import Header, mask_orientation, read_header, read_image, read_mask, read_whole_header
from src.data.sources import FolderPairs
from src.data.verify.inspection import inspect
from src.utils.errors import UserError

TRUTH = np.zeros((20, 30), dtype=bool)
TRUTH[3:12, 5:20] = True
GREY = TRUTH.astype(np.uint8) * 255


def save(array: np.ndarray, path: Path, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def palette_image(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), mode=None).convert("L")
    image.putpalette(colours + [0] * (768 - len(colours)))
    return image


@pytest.mark.parametrize(
    ("name", "mode"),
    [("a.png", "L"), ("a.png", "1"), ("a.png", "RGB"), ("a.png", "RGBA"), ("a.png", "P"), ("a.gif", "P"),
     ("a.bmp", "L"), ("a.tif", "1"), ("a.webp", "RGB"), ("a.pgm", "L"), ("a.jpg", "L"), ("a.jpg", "CMYK")],
)  # fmt: skip
def test_mask_is_the_same_in_every_format(tmp_path: Path, name: str, mode: str) -> None:
    options = {"lossless": True} if name.endswith("webp") else {}
    mask = read_mask(save(GREY, tmp_path / name, mode, **options))
    assert mask.dtype == bool
    # JPEG rings, but stays on its side of the threshold
    np.testing.assert_array_equal(mask, TRUTH)


def test_zero_one_masks_of_every_depth(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read_mask(save(TRUTH.astype(np.uint8), tmp_path / "a.png")), TRUTH)
    np.testing.assert_array_equal(read_mask(save(TRUTH.astype(np.uint16), tmp_path / "b.png")), TRUTH)
    np.testing.assert_array_equal(read_mask(save(TRUTH.astype(np.uint16) * 65535, tmp_path / "c.png")), TRUTH)
    np.testing.assert_array_equal(read_mask(save(TRUTH.astype(np.uint16) * 255, tmp_path / "d.png")), TRUTH)
    np.testing.assert_array_equal(read_mask(save(TRUTH.astype(np.float32), tmp_path / "e.tif")), TRUTH)


def test_threshold_is_half_the_range(tmp_path: Path) -> None:
    values = np.array([[0, 1, 127, 128, 255]], dtype=np.uint8)
    assert read_mask(save(values, tmp_path / "a.png")).tolist() == [[False, False, False, True, True]]
    assert not read_mask(save(np.zeros((4, 4), np.uint8), tmp_path / "b.png")).any()


def test_coloured_palette_and_transparent_masks(tmp_path: Path) -> None:
    palette_image(TRUTH, [0, 0, 0, 128, 0, 0]).save(tmp_path / "voc.png")  # dark red: grey 38, strongest channel 128
    np.testing.assert_array_equal(read_mask(tmp_path / "voc.png"), TRUTH)
    palette_image(TRUTH, [255, 255, 255, 0, 0, 0]).save(tmp_path / "white_is_index_0.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "white_is_index_0.gif"), ~TRUTH)
    white = np.full((*TRUTH.shape, 4), 255, np.uint8)
    white[..., 3] = GREY
    np.testing.assert_array_equal(read_mask(save(white, tmp_path / "alpha.png")), TRUTH)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "I;16"])
def test_images_become_rgb(tmp_path: Path, mode: str) -> None:
    ramp = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    colour = np.stack([ramp, 255 - ramp, ramp // 2], axis=-1)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    if mode == "I;16":
        save(ramp.astype(np.uint16) * 257, path)
    else:
        save(colour, path, mode)
    image = read_image(path)
    assert image.shape == (20, 30, 3)
    assert image.dtype == np.uint8
    if mode in ("RGB", "RGBA", "CMYK"):
        np.testing.assert_array_equal(image, colour)
    if mode == "I;16":
        np.testing.assert_array_equal(image[..., 0], ramp)  # not clipped to white


def test_orientation_is_applied(tmp_path: Path) -> None:
    stored = np.zeros((20, 30, 3), np.uint8)
    stored[:10] = 255
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = save(stored, tmp_path / f"{orientation}.png", exif=exif)
        image = read_image(path)
        assert image.shape[:2] == ((30, 20) if orientation >= 5 else (20, 30))
        assert read_header(path).upright_size == image.shape[1::-1]
        np.testing.assert_array_equal(read_mask(path), image[..., 0] > 127)
    assert read_image(tmp_path / "6.png")[:, -1].min() == 255  # 6: the stored top is the right side


@pytest.mark.parametrize("upright_mask", [False, True])
def test_mask_follows_its_image(tmp_path: Path, upright_mask: bool) -> None:
    """A mask without a tag is turned with its image, unless its size fits the upright image only."""
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "Imgs").mkdir()
    (tmp_path / "GT").mkdir()
    save(np.repeat(GREY[..., None], 3, -1), tmp_path / "Imgs" / "a.png", exif=exif)
    save(np.rot90(GREY, -1) if upright_mask else GREY, tmp_path / "GT" / "a.png")
    sample = FolderPairs(SetFolders(tmp_path / "Imgs", tmp_path / "GT"), "X")[0]
    assert sample.image.shape[:2] == (30, 20)
    np.testing.assert_array_equal(sample.mask, sample.image[..., 0] > 127)


def test_images_stay_as_they_are_stored_without_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "Imgs").mkdir()
    (tmp_path / "GT").mkdir()
    save(np.repeat(GREY[..., None], 3, -1), tmp_path / "Imgs" / "a.png", exif=exif)
    save(GREY, tmp_path / "GT" / "a.png")
    sample = FolderPairs(SetFolders(tmp_path / "Imgs", tmp_path / "GT"), "X", exif=False)[0]
    np.testing.assert_array_equal(sample.image[..., 0], GREY)
    np.testing.assert_array_equal(sample.mask, GREY > 127)


def test_mask_orientation_rule() -> None:
    assert mask_orientation(Header((30, 20), 3), Header((30, 20))) == 3
    assert mask_orientation(Header((30, 20), 6), Header((20, 30))) == 1
    assert mask_orientation(Header((30, 20), 6), Header((30, 20), 8)) == 8


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    whole = save(
        np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8), tmp_path / "whole.jpg"
    ).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "cut.jpg", "empty.png", "absent.png"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)


@functools.cache
def _encoded() -> tuple[bytes, ...]:
    """One small picture in every format that is read."""
    picture, files = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 20, 3), dtype=np.uint8)), []
    for kind in ("JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM"):
        content = io.BytesIO()
        picture.save(content, kind)
        files.append(content.getvalue())
    return tuple(files)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow on tags it cannot read
@settings(max_examples=300, deadline=5000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_mutated_bytes_are_an_image_or_an_error_of_ours(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(_encoded())))
    for _ in range(data.draw(st.integers(1, 6))):
        # Change headers more often.
        place = data.draw(st.integers(0, len(content) - 1) | st.integers(0, min(len(content) - 1, 64)))
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "mutated"
    path.write_bytes(content[: data.draw(st.just(len(content)) | st.integers(0, len(content)))])
    for read in (read_image, read_mask, read_whole_header):
        with suppress(UserError):
            read(path)
    found = inspect("mutated", path, path)
    assert all(finding.path == path for finding in found.findings)
