"""The gallery's choice and its maps, the curves, and files that are the same when drawn again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from src.models.encoder import PyramidEncoder
from src.models.fpn import FPN
from src.models.outputs import masks_at_size
from src.module import COSModule
from src.report.figures.curves import save_curves
from src.report.figures.gallery import error_map, pick_images, save_gallery
from src.report.figures.network_panels import network_panels
from src.report.figures.unfolding import _rows as unfolding_rows
from tests.fixtures.fake_scores import set_scores

BLACK, ORANGE, BLUE, WHITE = (0, 0, 0), (213, 94, 0), (86, 180, 233), (255, 255, 255)


def test_error_colours():
    pred = np.array([[0.0, 0.9, 0.2, 1.0]])
    truth = np.array([[False, False, True, True]])
    assert [tuple(pixel) for pixel in error_map(pred, truth, "raw")[0]] == [BLACK, ORANGE, BLUE, WHITE]
    dim = np.array([[0.0, 0.36, 0.08, 0.4]])  # `field` stretches it to the same map, with `raw` it finds nothing
    assert [tuple(pixel) for pixel in error_map(dim, truth, "field")[0]] == [BLACK, ORANGE, BLUE, WHITE]
    assert [tuple(pixel) for pixel in error_map(dim, truth, "raw")[0]] == [BLACK, BLACK, BLUE, BLUE]


def test_what_is_not_valid_is_neither_hit_nor_error():
    pred, truth = np.array([[0.9, 0.2, 0.6]]), np.array([[True, True, False]])
    valid = np.array([[True, True, False]])
    assert [tuple(pixel) for pixel in error_map(pred, truth, "field", valid)[0]] == [WHITE, BLUE, (110, 110, 110)]


def test_best_median_and_worst_by_the_direction_of_the_measure():
    values = [0.5, 0.9, 0.1, 0.7, 0.3, 0.6, 0.2, 0.8, 0.4]
    one = set_scores("A", "x", {"s_alpha": values, "mae": values})
    picks = [(pick.words, pick.image, pick.score) for pick in pick_images([one], "s_alpha", each=1)]
    assert picks == [("best", "image_1", 0.9), ("median", "image_0", 0.5), ("worst", "image_2", 0.1)]
    assert [pick.image for pick in pick_images([one], "mae", each=1)] == ["image_2", "image_0", "image_1"]
    assert [pick.image for pick in pick_images([one], "s_alpha")][:2] == ["image_1", "image_7"]
    other = set_scores("A", "y", {"s_alpha": values[::-1]})
    assert pick_images([one, other], "s_alpha", each=1)[0].image in ("image_1", "image_7")  # the mean of both
    assert len(pick_images([set_scores("A", "x", {"mae": [0.1, 0.2]})], "mae")) == 2


@pytest.mark.parametrize("closing", [False, True])
def test_panels_show_every_stage_and_the_final_errors(make_run, closing):
    net = make_run(num_stages=2, unfold_stride=4, closing_step=closing).eval()
    module = COSModule(net, loss=torch.nn.Identity(), optimizer=torch.optim.Adam)
    image, truth = torch.rand(3, 64, 64), torch.rand(40, 50) > 0.5
    with torch.no_grad():
        output = net(image[None])
        final = masks_at_size(output.mask_logits, [truth])[0].numpy()
    panels = dict(network_panels(module, {"image": image, "mask": truth}))
    last = [r"$\hat{M}_{3}$"] if closing else []
    assert list(panels) == ["image", "truth", "$M_0$", "$M_1$", "$M_2$", *last, "errors", "$E_2$", "$B_2$", "$r_1$"]
    if closing:
        np.testing.assert_array_equal(panels[last[0]], final)
    np.testing.assert_array_equal(panels["$M_2$"], masks_at_size(output.stages[1].mask_logits, [truth])[0].numpy())
    assert {panels[name].shape for name in ("$M_0$", "$E_2$", "errors")} <= {(40, 50), (40, 50, 3)}
    np.testing.assert_allclose(panels["$r_1$"], output.stages[1].residual[0, 0].numpy(), atol=1e-6)
    np.testing.assert_array_equal(panels["errors"], error_map(final, truth.numpy(), "field"))


def test_the_closing_step_has_a_row_of_its_own(make_run):
    net, image = make_run(num_stages=2, unfold_stride=4, closing_step=True).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        rows, output = unfolding_rows(net, image, None, False), net(image)
    assert len(rows) == 3
    assert rows[2][-1].title == r"$\hat{M}_{K+1}$"
    assert torch.equal(rows[2][-1].picture, output.closing[0, 0])
    step = next(panel for panel in rows[2] if panel.signed)
    assert torch.equal(step.picture, (output.closing - output.stages[1].mask)[0, 0])
    assert [panel.title for panel in rows[2][:-1]] == [panel.title for panel in rows[1]][: len(rows[2]) - 1]


def test_panels_of_a_network_without_stages():
    module = COSModule(FPN(PyramidEncoder("resnet18", None), 16), loss=torch.nn.Identity(), optimizer=torch.optim.Adam)
    panels = network_panels(module, {"image": torch.rand(3, 64, 64), "mask": torch.rand(40, 50) > 0.5})
    assert [title for title, _ in panels] == ["image", "truth", "M", "errors"]


@pytest.mark.slow
def test_pictures_are_the_same_when_drawn_again(tmp_path):
    one = set_scores("A", "x", {"s_alpha": [0.1, 0.5, 0.9]})
    picks = pick_images([one], "s_alpha", each=1)
    for folder in (tmp_path / "1", tmp_path / "2"):
        save_curves(folder / "curves_A.png", [one], "field")
        save_gallery(
            folder / "gallery_A.png",
            picks,
            "s_alpha",
            "field",
            lambda _: [("truth", np.eye(8)), ("$r_1$", np.zeros((8, 8)))],
        )
    for name in ("curves_A.png", "curves_A.pdf", "gallery_A.png"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
    with Image.open(tmp_path / "1" / "gallery_A.png") as picture:
        assert picture.size[0] == pytest.approx(2.8 * 130, abs=20)
        pixels = np.asarray(picture.convert("L"))
    left, side = round(0.34 * 130), round(1.25 * 130)
    tile = pixels[26 : 26 + side, left : left + side]  # the truth of the first row: a diagonal, below its title
    assert min(tile[place, place] for place in (5, 70, 155)) > 230  # in the middle of cells
    assert [tile[5, 155], tile[155, 5], tile[80, 10]] == [0, 0, 0]


def test_curves_draw_each_method_in_its_own_colour_or_dash(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("src.report.figures.curves.save_figure", lambda figure, *paths: drawn.append((figure, paths)))
    save_curves(tmp_path / "c.png", [set_scores("A", f"m{i}", {"mae": [0.1]}) for i in range(9)], "raw")
    figure, paths = drawn[0]
    lines = figure.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 9
    np.testing.assert_allclose(figure.axes[1].get_lines()[0].get_ydata(), np.linspace(1, 0, 256))
    assert "protocol raw" in figure.get_suptitle()
    assert [path.suffix for path in paths] == [".png", ".pdf"]


def test_names_are_drawn_as_they_are(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("src.report.figures.curves.save_figure", lambda figure, *_: drawn.append(figure))
    save_curves(
        tmp_path / "c.png", [set_scores("A$^$", name, {"mae": [0.1]}) for name in ("_hidden", "a$^$", "plain")], "raw"
    )
    figure = drawn[0]
    figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r"$\_$hidden", r"a\$^\$", "plain"]


def test_the_gallery_names_its_images_and_colours(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("src.report.figures.gallery.save_figure", lambda figure, *_: drawn.append(figure))
    picks = pick_images([set_scores("A", "x", {"s_alpha": [0.1, 0.9]})], "s_alpha", each=1)
    save_gallery(
        tmp_path / "g.png",
        picks,
        "s_alpha",
        "raw",
        lambda _: [("truth", np.eye(8)), ("$r_1$", np.zeros((8, 8)))],
        in_view=True,
    )
    (figure,) = drawn
    texts = [" ".join(text.get_text().split()) for text in figure.texts]
    assert texts[:-1] == ["best 0.90 image_1", "truth", "$r_1$", "worst 0.10 image_0"]
    for words in ("protocol raw", "blue missed, grey outside the field of view", "r residual (red +0.3, blue −0.3)"):
        assert words in texts[-1]
