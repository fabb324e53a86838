"""What a test leaves behind: tables with their footnotes, the gallery's panels, the overlay's pixels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from src.models.encoder import PyramidEncoder
from src.models.fpn import FPN
from src.module import COSModule
from src.report.gallery import _panels, save_gallery
from src.report.overlay import TINT, overlay
from src.report.results import COLUMNS, write_results


class _Data:
    """Two scenes as one batch, and what a data module says of itself."""

    def describe(self) -> dict:
        return {"image_size": 64, "selected_on": "held-out 10% of the training images", "notes": ["CAMO-Test, 248 of 250 images"]}

    def test_dataloader(self) -> list:
        return [[{"image": torch.rand(2, 3, 64, 64), "mask": [torch.rand(40, 50) > 0.5, torch.rand(60, 30) > 0.5], "name": ["a", "b"]}]]


def _module(net: torch.nn.Module) -> COSModule:
    module = COSModule(net, loss=torch.nn.Identity(), optimizer=torch.optim.Adam)
    scores = dict.fromkeys(COLUMNS, 0.25)
    module.test_scores = {"CAMO": {"M_0": scores, "M_1": scores | {"mae": 0.125}}}
    module.test_rows = [{"dataset": "CAMO", "image": name, "object_share": share, **scores} for name, share in (("a", 0.1), ("b", 0.3))]
    return module


@pytest.fixture
def written(make_run, tmp_path: Path) -> Path:
    console = Console(width=140, file=(tmp_path / "printed.txt").open("w", encoding="utf-8"))
    write_results(tmp_path, _module(make_run(num_stages=1, unfold_stride=4)), _Data(), tmp_path / "best.ckpt", console)
    console.file.close()
    return tmp_path


def test_tables_say_the_numbers_and_how_they_were_made(written):
    markdown = (written / "metrics.md").read_text(encoding="utf-8")
    assert "| CAMO | M_1 | 0.2500 | 0.2500 | 0.2500 | 0.2500 | 0.1250 | 0.2500 |" in markdown
    for words in (
        "min–max",
        "64 × 64 px",
        "2 images",
        "MAE 0.2000",
        "best.ckpt, selected on: held-out 10%",
        "248 of 250",
        "256 thresholds",
    ):
        assert words in markdown
        assert words in " ".join((written / "printed.txt").read_text(encoding="utf-8").split())
    rows = list(csv.DictReader((written / "metrics.csv").open()))
    assert [(row["dataset"], row["map"], row["mae"]) for row in rows] == [("CAMO", "M_0", "0.25"), ("CAMO", "M_1", "0.125")]
    assert [row["image"] for row in csv.DictReader((written / "per_image.csv").open())] == ["a", "b"]


def test_a_checkpoint_that_was_not_selected_is_not_called_selected(make_run, tmp_path):
    write_results(tmp_path, _module(make_run(num_stages=1)), _Data(), tmp_path / "last.ckpt", Console(quiet=True))
    assert "last.ckpt, not selected" in (tmp_path / "metrics.md").read_text(encoding="utf-8")


def test_gallery_shows_every_stage(make_run, written):
    net = make_run(num_stages=2, unfold_stride=4).eval()
    image, truth = torch.rand(1, 3, 64, 64), torch.rand(40, 50) > 0.5
    with torch.no_grad():
        output = net(image)
        panels = dict(_panels(output, 0, image[0], truth))
    assert list(panels) == ["image", "truth", "$M_0$", "$M_1$", "$M_2$", "$E_2$", "$B_2$", "$r_1$"]
    np.testing.assert_allclose(panels["$M_2$"], output.stages[1].mask[0, 0].numpy(), atol=1e-6)
    np.testing.assert_allclose(panels["$r_1$"], output.stages[1].residual[0, 0].numpy())
    with Image.open(written / "gallery.png") as picture:
        assert picture.size == (pytest.approx(7 * 1.25 * 130, abs=2), pytest.approx(2 * 1.25 * 130, abs=2))


def test_gallery_of_a_network_without_stages(tmp_path):
    save_gallery(tmp_path / "g.png", _module(FPN(PyramidEncoder("resnet18", None), 16)), _Data().test_dataloader()[0])
    assert (tmp_path / "g.png").stat().st_size > 1000


def test_overlay_tints_the_object_and_leaves_the_rest():
    image = np.full((60, 80, 3), 100, np.uint8)
    mask = np.zeros((60, 80))
    mask[20:40, 30:50] = 1.0
    out = overlay(image, mask)
    assert out.dtype == np.uint8
    assert (out[0, 0] == 100).all()
    np.testing.assert_allclose(out[30, 40], 0.55 * 100 + 0.45 * TINT, atol=1)
    assert (out[20, 40] == TINT).all()
