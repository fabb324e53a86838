"""The picture of the README: its layout, and what it says about photographs that are missing."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.hero_picture import SCENES, WIDTH, Row, draw_hero, drawn
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT


def test_a_row_has_the_photograph_the_masks_and_the_cutout_on_a_transparent_ground():
    masks = {f"M_{k}": np.full((48, 64), k / 5) for k in range(5)} | {"M̂_5": np.ones((48, 64))}
    photograph, cutout = np.full((48, 64, 3), (255, 0, 0), np.uint8), np.zeros((48, 64, 4), np.uint8)
    picture = np.asarray(drawn([Row(photograph, masks, cutout)] * 2))
    height, width = picture.shape[:2]
    assert width == WIDTH
    assert height / width == pytest.approx(4 / 7 * 3 / 4, abs=0.01)
    for y in (0.25, 0.75):
        across = picture[int(y * height)]
        assert tuple(across[width // 7]) == (255, 0, 0, 255)
        assert across[-width // 7, 3] == 0
    # The second line: M_3, M_4, M̂_5.
    middle = [picture[int(0.36 * height), int(width * (2.8 + k) / 7)] for k in range(3)]
    assert [tuple(pixel) for pixel in middle] == [(153, 153, 153, 255), (204, 204, 204, 255), (255, 255, 255, 255)]


def test_missing_photographs_are_named(tmp_path):
    with pytest.raises(UserError, match=SCENES[0].file):
        draw_hero(tmp_path, tmp_path / "picture.webp")


def test_the_picture_of_this_checkout_is_small_and_credited():
    assert (ROOT / "docs" / "pictures" / "stages.webp").stat().st_size < 400_000
    readme, note = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/pictures/LICENSE"))
    for author in ("Bolly", "Aitzol Berasategi", "Clemens Engelhardt"):
        assert author in readme
        assert author in note
