"""What a result makes from its mask: cut-out, overlay, backgrounds, JSON, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from src.inference.onnx_network import Levels
from src.inference.pictures import Picture
from src.inference.results import TINT, Result
from src.utils.errors import UserError


@pytest.fixture
def result() -> Result:
    """A grey picture with an object of probability 1 in the middle of one of 0.4."""
    levels = np.zeros((60, 80), np.uint8)
    levels[10:50, 20:60] = 102
    levels[20:40, 30:50] = 255
    return Result(Picture("moth.jpg", np.full((60, 80, 3), 100, np.uint8)), Levels(levels), 0.1)


def test_the_mask_in_both_forms(result):
    assert (result.mask.dtype, result.mask8.dtype) == (np.float32, np.uint8)
    np.testing.assert_allclose(result.mask * 255, result.mask8, atol=1e-4)
    assert set(np.unique(result.levels(0.5))) == {0, 255}
    assert (result.levels(0.3) > 0).sum() == 40 * 40


def test_the_cutout_carries_the_mask(result):
    cutout = result.cutout()
    np.testing.assert_array_equal(cutout[..., :3], result.image)
    np.testing.assert_array_equal(cutout[..., 3], result.mask8)


def test_the_overlay_tints_the_object_and_draws_its_outline(result):
    drawn = result.overlay()
    np.testing.assert_array_equal(drawn[5, 5], [100, 100, 100])
    np.testing.assert_allclose(drawn[30, 40], 0.55 * 100 + 0.45 * np.array(TINT), atol=1)
    np.testing.assert_allclose(drawn[12, 22], 100 + 0.4 * 0.45 * (np.array(TINT) - 100), atol=1)
    assert (drawn[20, 40] == TINT).all()
    assert (result.overlay(0.3)[10, 40] == TINT).all()


@pytest.mark.parametrize(
    ("background", "colour"),
    [
        ("white", [255, 255, 255]),
        ([1, 2, 3], [1, 2, 3]),
        ((9, 8, 7), [9, 8, 7]),
        (np.full((2, 3, 3), 50, np.uint8), [50, 50, 50]),
    ],
)
def test_other_backgrounds(result, background, colour):
    placed = result.on(background)
    np.testing.assert_array_equal(placed[5, 5], colour)
    np.testing.assert_array_equal(placed[30, 40], [100, 100, 100])
    np.testing.assert_allclose(placed[12, 22], 0.4 * 100 + 0.6 * np.array(colour), atol=0.5)
    np.testing.assert_array_equal(result.on(background, threshold=0.5)[12, 22], colour)


def test_a_picture_as_background_covers_from_the_middle(result, tmp_path):
    stripes = np.zeros((30, 200, 3), np.uint8)
    stripes[:, 76:124] = 200
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    placed = result.on(str(tmp_path / "stripes.png"))
    assert placed.shape == result.image.shape
    assert (placed[0] == 200).all()


def test_blur_keeps_the_object_and_softens_the_rest(photograph):
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    levels = np.zeros((300, 400), np.uint8)
    levels[100:200, 100:300] = 255
    placed = Result(Picture("", noise), Levels(levels), 0.0).on("blur")
    np.testing.assert_array_equal(placed[100:200, 100:300], noise[100:200, 100:300])
    assert placed[:80].std() < noise[:80].std() / 5
    assert placed[:80].mean() == pytest.approx(noise[:80].mean(), abs=3)


def test_a_colour_that_is_none(result):
    for wrong in ([1, 2], [0, 0, 256], [0.5, 0, 0]):
        with pytest.raises(UserError, match="three whole numbers from 0 to 255"):
            result.on(wrong)


def test_json_is_coco(result):
    found = result.to_json(tolerance=0)
    assert found["images"] == [{"id": 1, "file_name": "moth.jpg", "width": 80, "height": 60}]
    (annotation,) = found["annotations"]
    assert (annotation["bbox"], annotation["area"], annotation["score"]) == ([30, 20, 20, 20], 400, 1.0)
    assert sorted(zip(*[iter(annotation["segmentation"][0])] * 2, strict=True)) == [
        (30, 20),
        (30, 40),
        (50, 20),
        (50, 40),
    ]
    np.testing.assert_array_equal(result.boxes(), [[30, 20, 20, 20]])
    assert result.to_json(threshold=0.3)["annotations"][0]["area"] == 1600
    assert json.loads(json.dumps(found)) == found


def test_save_takes_the_format_from_the_suffix(result, tmp_path):
    result.save(tmp_path / "deep" / "mask.png")
    with Image.open(tmp_path / "deep" / "mask.png") as file:
        np.testing.assert_array_equal(np.asarray(file), result.mask8)
    result.save(tmp_path / "moth.webp", "cutout")
    with Image.open(tmp_path / "moth.webp") as file:
        assert (file.mode, file.size) == ("RGBA", (80, 60))
    result.save(tmp_path / "moth.json")
    assert json.loads((tmp_path / "moth.json").read_text()) == result.to_json()
    for path, kind in (("mask.jpg", None), ("mask.png", "json"), ("mask.json", "map"), ("mask.png", "maps")):
        with pytest.raises(UserError, match="types are map, cutout"):
            result.save(tmp_path / path, kind)
