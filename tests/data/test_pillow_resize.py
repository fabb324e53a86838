"""The compiled resize against Pillow's own, in every pixel."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from src.data import pillow_resize as resize
from src.data.pillow_resize import Order, resize_bilinear
from src.data.readers import read_image
from src.data.transforms import resize_image

sides = st.integers(1, 400)


def pillow(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


@settings(max_examples=150, deadline=None)
@given(sides, sides, sides, sides, st.integers(0, 2**32 - 1))
def test_equal_to_pillow(h: int, w: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize_bilinear(image, height, width), pillow(image, height, width))


@pytest.mark.parametrize("value", [0, 1, 254, 255])
@pytest.mark.parametrize("size", [(7, 3000), (3000, 7), (1, 1), (333, 777)])
def test_extremes_neither_overflow_nor_drift(value: int, size: tuple[int, int]) -> None:
    image = np.full((*size, 3), value, np.uint8)
    for side in (1, 32, 351, 352):
        np.testing.assert_array_equal(resize_bilinear(image, side, side), np.full((side, side, 3), value))


@pytest.mark.parametrize("order", ["width first", "by shrinkage"])
def test_the_installed_pillow_decides_the_order(order: Order, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow up to 12 shrinks the width first, 13 the side that shrinks more; with other versions Pillow resizes."""
    monkeypatch.setattr(resize, "_pillow", lambda image, height, width: resize._resized(image, height, width, order))
    assert resize.pillow_order.__wrapped__() == order
    monkeypatch.setattr(resize, "_pillow", lambda image, height, width: np.zeros((height, width, 3), np.uint8))
    assert resize.pillow_order.__wrapped__() == "unknown"
    monkeypatch.setattr(resize, "pillow_order", lambda: "unknown")
    assert not resize_bilinear(np.full((4, 4, 3), 9, np.uint8), 2, 2).any()


@pytest.mark.slow
def test_every_pair_of_sides_that_a_network_meets() -> None:
    row = np.random.default_rng(0).integers(0, 256, (1, 1400, 3), dtype=np.uint8)
    for old in range(200, 1400, 7):
        for new in (224, 256, 352, 384, 416, 448, 512):
            image = np.ascontiguousarray(row[:, :old])
            np.testing.assert_array_equal(resize_bilinear(image, 1, new), pillow(image, 1, new))


def test_views_are_read_as_they_look() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    for view in (image[::2], image[:, ::-1], image[5:50, 7:70], image.transpose(1, 0, 2)):
        np.testing.assert_array_equal(resize_image(view, 37), pillow(np.ascontiguousarray(view), 37, 37))
    same = resize_image(image[:60, :60], 60)
    np.testing.assert_array_equal(same, image[:60, :60])


def test_equal_on_photographs(shared_data: Path) -> None:
    for path in sorted((shared_data / "TestDataset" / "CAMO" / "Imgs").iterdir())[:12]:
        image = read_image(path)
        np.testing.assert_array_equal(resize_image(image, 352), pillow(image, 352, 352))
