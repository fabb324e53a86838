"""Prompts become maps, impossible prompts are refused, and the predictor uses them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from src.data.prompts import CLICK_RADIUS
from src.inference.inputs import find_sources
from src.inference.predictor import Predictor
from src.inference.prompts import Said
from src.inference.said_files import find_said
from src.models.prompts import Prompt
from src.utils.errors import Problems, UserError
from tests.fixtures.tiny_network import IMAGE_SIZE, write_tiny_checkpoint

HEIGHT, WIDTH = 50, 70


@pytest.fixture(scope="module")
def prompted(tmp_path_factory) -> Predictor:
    """A RUN whose stages take prompts."""
    part = {"_target_": "src.models.prompts.PromptTerm", "_partial_": True}
    path = tmp_path_factory.mktemp("prompted") / "tiny.ckpt"
    return Predictor(write_tiny_checkpoint(path, num_stages=2, closing_step=True, prompts=part), device="cpu")


def test_a_box_is_exact_in_the_networks_pixels():
    """Compare with ten times as many pixels per side, each inside or outside."""
    box, side, fine = (10.5, 5, 48, 30.2), 20, 200
    target, certainty, _ = Said(box=box, trust=0.8).maps(HEIGHT, WIDTH, side)
    xs, ys = ((np.arange(fine) + 0.5) * length / fine for length in (WIDTH, HEIGHT))
    inside = np.outer((ys > box[1]) & (ys < box[3]), (xs > box[0]) & (xs < box[2]))
    expected = 0.8 * (1 - inside.reshape(side, 10, side, 10).mean((1, 3)))
    assert not target.any()
    assert certainty.dtype == np.float32
    assert np.abs(certainty - expected).max() < 0.08
    assert certainty[6, 8] == 0
    assert certainty[0, 0] == pytest.approx(0.8)
    whole = Said(box=(0, 0, WIDTH, HEIGHT)).maps(HEIGHT, WIDTH, side)
    assert whole.certainty.max() < 1e-6


def test_a_click_is_a_disc_that_is_round_in_the_picture():
    target, certainty, _ = Said(clicks=[(35, 25, 1)]).maps(HEIGHT, WIDTH, 200)
    spread = CLICK_RADIUS * WIDTH
    row, column = 110, 106
    away = np.hypot((row + 0.5) * HEIGHT / 200 - 25, (column + 0.5) * WIDTH / 200 - 35)
    assert certainty[row, column] == pytest.approx(0.9 * np.exp(-(away**2) / (2 * spread**2)), rel=1e-5)
    assert certainty.max() == pytest.approx(0.9, abs=0.02)
    assert (target[certainty > 0] == 1).all()
    assert (certainty[:50] < 1e-6).all()


def test_of_several_clicks_the_surer_is_heard_and_of_two_as_sure_the_later():
    target, certainty, _ = Said(clicks=[(20, 25, 1), (26, 25, -1)]).maps(HEIGHT, WIDTH, 70)
    middle = 35
    assert target[middle, 20:23].tolist() == [1, 1, 1]
    assert target[middle, 23:27].tolist() == [0, 0, 0, 0]
    assert certainty[middle, 20] > 0.8
    last = Said(clicks=[(20, 25, -1), (20, 25, 1)]).maps(HEIGHT, WIDTH, 70)
    assert (last.target[last.certainty > 0] == 1).all()


def test_clicks_are_heard_in_a_box_outside_it_and_on_a_map():
    box, map_ = (30, 10, 60, 40), np.zeros((HEIGHT, WIDTH), np.float32)
    for said in (Said(box=box, clicks=[(10, 25, 1)]), Said(mask=map_, clicks=[(10, 25, 1)])):
        target, certainty, _ = said.maps(HEIGHT, WIDTH, 70)
        assert target[35, 10] == 1
        assert certainty[35, 10] > 0.7
        assert target[35, 20] == 0
        assert certainty[35, 20] == pytest.approx(0.9)
        clicked = said.maps(HEIGHT, WIDTH, 70).clicked
        assert clicked[35, 10] == certainty[35, 10]
        assert clicked[35, 20] == 0
    both = Said(box=box, mask=map_ + 1, trust=0.7).maps(HEIGHT, WIDTH, 70)
    assert not both.clicked.any()
    assert both.target[35, 45] == 1
    assert both.target[0, 0] == 0


def test_a_map_is_as_sure_as_it_is_far_from_a_half(tmp_path):
    levels = np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
    Image.fromarray(levels).save(tmp_path / "map.png")
    target, certainty, _ = Said(mask=tmp_path / "map.png", trust=0.6).maps(HEIGHT, WIDTH, 32)
    np.testing.assert_allclose(certainty, 0.6 * np.abs(2 * target - 1), rtol=1e-6)
    assert target[0, 0] < 0.03
    assert target[0, -1] > 0.97
    for mask in (levels, levels / 255, (levels / np.float32(255))):
        np.testing.assert_allclose(Said(mask=mask).maps(HEIGHT, WIDTH, 32).target, target, atol=1e-6)
    assert set(np.unique(Said(mask=levels > 127).maps(HEIGHT, WIDTH, 70).target[:, :30])) == {0}


def test_a_mask_of_0_and_1_in_levels_gets_a_warning(tmp_path):
    """It is read as 0 … 255, as the maps of files are, and says that nothing is there."""
    ones = np.zeros((HEIGHT, WIDTH), np.uint8)
    ones[10:30, 20:40] = 1
    Image.fromarray(ones).save(tmp_path / "ones.png")
    for mask, name in ((ones, "mask"), (tmp_path / "ones.png", f"mask {tmp_path / 'ones.png'}")):
        with pytest.warns(UserWarning, match=r"has the values 0 and 1 of 255 alone.*multiply it by 255") as caught:
            Said(mask=mask).maps(HEIGHT, WIDTH, 32)
        assert str(caught[0].message).startswith(f"{name}: ")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for mask in (0 * ones, 2 * ones, 255 * ones, ones > 0, ones / 1.0, ones.astype(np.float32)):
            Said(mask=mask).maps(HEIGHT, WIDTH, 32)


WRONG = {
    "empty": (Said(box=(5, 5, 5, 9)), "box=(5, 5, 5, 9): empty or reversed"),
    "reversed": (Said(box=(9, 5, 3, 9)), "empty or reversed; expected x0 < x1"),
    "outside": (Said(box=(5, 5, 71, 9)), "reaches out of the picture, which is 70 wide and 50 high"),
    "three": (Said(box=(5, 5, 9)), "expected four numbers"),
    "nan": (Said(box=(5, 5, float("nan"), 9)), "expected four numbers"),
    "words": (Said(box="5,5,9,9"), "expected four numbers"),
    "click outside": (Said(clicks=[(5, 51, 1)]), "click 1, (5, 51, 1): outside the picture"),
    "sign": (Said(clicks=[(5, 5, 1), (5, 5, 0)]), "click 2, (5, 5, 0): its sign is 0; expected +1"),
    "click of two": (Said(clicks=[(5, 5)]), "expected three numbers"),
    "one click": (Said(clicks=(5, 5, 1)), "clicks=(5, 5, 1): expected a list of clicks"),
    "no list": (Said(clicks=None), "clicks=None: expected a list of clicks"),
    "a number": (Said(clicks=np.array(5)), "expected a list of clicks"),
    "size": (Said(mask=np.zeros((50, 71), bool)), "mask: 71×50 pixels, and the picture has 70×50"),
    "colours": (Said(mask=np.zeros((50, 70, 3), np.uint8)), "expected an array (height, width)"),
    "logits": (Said(mask=np.full((50, 70), 3.0)), "values from 3 to 3"),
    "a picture": (Said(mask=Image.new("L", (70, 50))), "mask: expected a file, or an array (height, width); got Image"),
    "rows": (Said(mask=[[0, 1]]), "expected a file, or an array (height, width); got list"),
    "no file": (Said(mask="none.png"), "mask none.png: no such file"),
    "trust": (Said(trust=0), "trust=0: expected a number above 0"),
    "trusting": (Said(trust=1.5), "trust=1.5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_meant_is_a_sentence(case):
    said, words = WRONG[case]
    (problem,) = said.problems(HEIGHT, WIDTH)
    assert words in problem
    with pytest.raises(UserError, match="is not valid"):
        said.maps(HEIGHT, WIDTH, 32)


def test_a_map_that_is_stored_turned_is_refused(tmp_path):
    turned = Image.new("L", (WIDTH, HEIGHT)).getexif()
    turned[0x0112] = 3
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "map.png", exif=turned)
    (problem,) = Said(mask=tmp_path / "map.png").problems(HEIGHT, WIDTH)
    assert "map.png: has an EXIF orientation; save it as the picture is shown" in problem


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    Image.new("L", (7, 5)).save(tmp_path / "small.png")
    said = Said((9, 5, 3, 9), [(99, 5, 2)], tmp_path / "small.png", 7)
    problems = said.problems(HEIGHT, WIDTH)
    starts = ["box=", "click 1", "click 1", "mask ", "trust="]
    assert [problem.startswith(start) for problem, start in zip(problems, starts, strict=True)] == [True] * 5
    assert "7×5 pixels" in problems[3]


def test_the_predictor_hears_what_is_said(predictor, photograph):
    plain = predictor(photograph).mask
    boxed = predictor(photograph, box=(20, 10, 50, 40)).mask
    outside = np.ones((HEIGHT, WIDTH), bool)
    outside[8:42, 18:52] = False
    assert boxed[outside].mean() < 0.8 * plain[outside].mean()
    clicked = predictor(photograph, clicks=[(10, 10, 1), (60, 40, -1)]).mask
    assert clicked[10, 10] > plain[10, 10]
    assert clicked[40, 60] < plain[40, 60]
    np.testing.assert_array_equal(predictor(photograph, trust=0.3).mask, plain)


def test_stages_hear_what_is_said(prompted, photograph):
    """Weights are random, so only that masks change can be seen; `src.models` tests how."""
    plain = prompted(photograph).mask
    for said in ({"box": (20, 10, 50, 40)}, {"clicks": [(10, 10, 1)]}):
        assert np.abs(prompted(photograph, **said).mask - plain).max() > 1e-5
    np.testing.assert_array_equal(prompted(photograph, trust=0.3).mask, plain)


def test_the_predictor_gives_the_network_these_maps(prompted, photograph):
    said = Said((20, 10, 50, 40), [(10, 10, 1)])
    maps = said.maps(HEIGHT, WIDTH, IMAGE_SIZE)
    network = prompted.network
    image = network.to_input([network.shrink(photograph)])
    prompt = Prompt(*(torch.from_numpy(one)[None, None] for one in maps))
    with torch.inference_mode():
        expected = network.net(image, prompt=prompt).mask_logits[0, 0].numpy()
    (result,) = prompted.run([prompted.prepare(photograph, said=said)])
    np.testing.assert_allclose(result._raw.values, expected, atol=1e-5)


def test_pictures_of_a_batch_have_their_own_prompts(prompted, photograph):
    said = [Said(), Said(box=(20, 10, 50, 40)), Said(clicks=[(10, 10, 1)])]
    together = prompted.run([prompted.prepare(photograph, said=one) for one in said])
    for result, one in zip(together, said, strict=True):
        (alone,) = prompted.run([prompted.prepare(photograph, said=one)])
        np.testing.assert_allclose(result.mask, alone.mask, atol=1e-5)


def test_coordinates_are_those_of_the_turned_picture(prompted, photograph, tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(photograph).save(tmp_path / "turned.png", exif=turned)
    box = (5, 40, 30, 65)  # reaches below a picture that is not turned
    result = prompted(tmp_path / "turned.png", box=box)
    assert result.image.shape == (WIDTH, HEIGHT, 3)
    np.testing.assert_array_equal(result.mask8, prompted(result.image, box=box).mask8)


def test_what_the_predictor_refuses(predictor, photograph, tmp_path):
    for said, words in (
        ({"box": (9, 5, 3, 9), "trust": 2}, "empty or reversed"),
        ({"mask": np.zeros((3, 4), bool)}, "4×3 pixels, and the picture has 70×50"),
        ({"trust": 7}, "trust=7: expected a number above 0 and at most 1"),
    ):
        with pytest.raises(UserError, match=words):
            predictor(photograph, **said)
    with pytest.raises(UserError, match="box, clicks: belongs to one picture"):
        predictor([photograph], box=(0, 0, 5, 5), clicks=[])
    deaf = Predictor(write_tiny_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN"), device="cpu")
    deaf(photograph)
    with pytest.raises(UserError, match="takes no box, clicks or mask"):
        deaf(photograph, box=(0, 0, 5, 5))


def test_without_its_closing_step_a_network_trained_without_prompts_takes_none(tiny_checkpoint, photograph):
    stages = Predictor(tiny_checkpoint, device="cpu", closing_step=False)
    with pytest.raises(UserError, match="closing step"):
        stages(photograph, clicks=[(5, 5, 1)])


def test_sharper_masks_further_rounds_and_the_mirror_image_take_prompts_too(tiny_checkpoint, photograph):
    for options in ({"sharpness": 2.0}, {"rounds": 2}, {"flip": True}):
        one = Predictor(tiny_checkpoint, device="cpu", **options)
        assert one(photograph, clicks=[(10, 10, 1)]).mask[10, 10] > one(photograph).mask[10, 10]


@pytest.fixture
def folder(tmp_path):
    """Two pictures, one of them in a subfolder and turned."""
    turned = Image.Exif()
    turned[0x0112] = 6
    (tmp_path / "in" / "birds").mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in" / "a.png")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in" / "birds" / "wren.jpg", exif=turned)
    return tmp_path


def _found(folder, boxes=None, prompts=None, trust=0.9):
    problems, text = Problems(), str(folder / "in")
    sources = find_sources(text, recursive=True)
    said = find_said({"boxes": boxes, "prompts": prompts, "trust": trust, "input": text}, sources, problems)
    return {source.name: one for source, one in said.items()}, problems


def test_boxes_of_a_table_and_of_json_and_maps_by_name(folder):
    (folder / "boxes.csv").write_text("image,x0,y0,x1,y1\na.png,1,2,30.5,40\nbirds/wren.jpg, 1, 2, 50, 70\n")
    (folder / "boxes.json").write_text('{"birds/wren": [1, 2, 50, 70], "a": [1, 2, 30.5, 40]}')
    for name in ("boxes.csv", "boxes.json"):
        said, problems = _found(folder, boxes=str(folder / name), trust=0.5)
        assert problems == []
        assert {key: list(one.box) for key, one in said.items()} == {
            "a": [1, 2, 30.5, 40],
            "birds/wren": [1, 2, 50, 70],
        }
        assert said["a"].trust == 0.5
    (folder / "maps" / "birds").mkdir(parents=True)
    Image.new("L", (HEIGHT, WIDTH)).save(folder / "maps" / "birds" / "wren.png")
    said, problems = _found(folder, prompts=str(folder / "maps"))
    assert problems == []
    assert {key: one.mask for key, one in said.items()} == {"birds/wren": folder / "maps" / "birds" / "wren.png"}


def test_names_and_values_that_fit_no_picture_are_told_together(folder):
    (folder / "boxes.csv").write_text(f"image,x0,y0,x1,y1\na.png,1,2,{WIDTH + 1},4\nb.png,1,2,3,4\nwren.jpg,1,2,3,4\n")
    (folder / "maps").mkdir()
    Image.new("L", (9, 9)).save(folder / "maps" / "a.png")
    Image.new("L", (9, 9)).save(folder / "maps" / "c.png")
    _, problems = _found(folder, str(folder / "boxes.csv"), str(folder / "maps"))
    words = ["names b.png, and input=", "names wren.jpg, and", "names c, and", "a.png: box=(1, 2, 71, 4)", "9×9 pixels"]
    assert [word in problem for word, problem in zip(words, problems, strict=True)] == [True] * 5


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("boxes.csv", "name,x0,y0,x1,y1\n", "no column image; its first line must be image,x0,y0,x1,y1"),
        ("boxes.csv", "image,x0,y0,x1,y1\na.png,1,2,three,4\n", "line 2: x1=three: expected a number"),
        ("boxes.csv", "image,x0,y0,x1,y1\na.png,1,2,3\n", "line 2: y1=None: expected a number"),
        ("boxes.csv", "image,x0,y0,x1,y1\na.png,1,2,3,4\na.png,1,2,3,4\n", "line 3: a.png has a box already"),
        ("boxes.csv", "image,x0,y0,x1,y1\na.png,1,2,3,4\na,1,2,3,4\n", "says two things about"),
        ("boxes.csv", "x0,y0,x1,y1,image\n1,2,3,4\n", "line 2: names no image"),
        ("boxes.csv", "image,x0,y0,x1,y1\n,1,2,3,4\n", "line 2: names no image"),
        ("boxes.json", "[1, 2]", "expected an object"),
        ("boxes.json", "{", "cannot be read"),
        ("boxes.json", '{"a.png": [1, 2, 3, 4], "a.png": [1, 2, 3, 4]}', "a.png: more than one box"),
        ("boxes.json", '{"a": 3}', "box=3: expected four numbers"),
        ("none.csv", None, "there is no file"),
    ],
)
def test_files_of_boxes_that_cannot_be_meant(folder, name, content, words):
    if content is not None:
        (folder / name).write_text(content)
    _, (problem,) = _found(folder, boxes=str(folder / name))
    assert words in problem


def test_folders_of_maps_that_cannot_be_meant(folder):
    assert "there is no folder" in _found(folder, prompts=str(folder / "none"))[1][0]
    (folder / "maps").mkdir()
    assert "holds no map" in _found(folder, prompts=str(folder / "maps"))[1][0]
    for name in ("a.bmp", "a.png"):
        Image.new("L", (WIDTH, HEIGHT)).save(folder / "maps" / name)
    (problem,) = _found(folder, prompts=str(folder / "maps"))[1]
    assert problem.endswith("maps holds two maps of a, a.bmp and a.png")
    assert "trust=0" in _found(folder, trust=0)[1][0]
