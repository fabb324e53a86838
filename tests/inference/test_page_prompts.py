"""Prompts on the page of `src.demo`, in a real browser; a network made by hand mixes them into the mask."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.data.pillow_resize import resize_bilinear
from src.data.prompts import PromptMaps
from src.inference.enlarge import enlarged_levels
from src.inference.onnx_network import OnnxNetwork
from src.inference.predictor import Predictor
from src.inference.prompts import Said
from src.inference.site import make_site
from tests.fixtures.browser import DARK, LIGHT, PHONE, WIDE, Page, chromium, real_runtime, served
from tests.fixtures.exported import CHECKPOINT, EXPORTED
from tests.fixtures.prompted_onnx import write_prompted_onnx
from tests.fixtures.red_onnx import METADATA, write_red_onnx

pytestmark = pytest.mark.slow

HEIGHT, WIDTH, SIDE = 90, 120, 64
TAB, ENTER, LEFT, UP, RIGHT, DOWN = "\ue004", "\ue007", "\ue012", "\ue013", "\ue014", "\ue015"
UNDO, CLEAR, HAND = "#undo", "#clear", "#hand"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One Chromium for all tests of this file."""
    with chromium(tmp_path_factory.mktemp("downloads")) as page:
        yield page


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where the page with the network of :func:`write_prompted_onnx` is."""
    model = write_prompted_onnx(tmp_path_factory.mktemp("page") / "model.onnx")
    with served(make_site(model, real_runtime(), OnnxNetwork(model))) as address:
        yield address


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG whose red grows from the left to the right."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.linspace(40, 240, WIDTH)
    path = tmp_path_factory.mktemp("pictures") / "growing.png"
    Image.fromarray(image).save(path)
    return path


@pytest.fixture
def page(browser: Page, address: str, picture: Path) -> Iterator[Page]:
    """The page with the picture's mask; at the end the console has said nothing."""
    with browser.watched(address):
        browser.emulate(*WIDE, **LIGHT)
        browser.open(address)
        browser.choose(picture)
        browser.wait_for("done", "Found")
        browser.find("#views input[value=map]").click()
        yield browser


def take(page: Page, tool: str) -> None:
    """Choose compare, box, add or remove."""
    page.find(f"#tools input[value={tool}]").click()


def said(page: Page) -> Said:
    """Return the marks on the picture, with their places in percent of its size."""
    box, clicks = None, []
    for kind, *shares in page.run(MARKS):
        left, top, width, height = (value * side / 100 for value, side in zip(shares, (WIDTH, HEIGHT) * 2, strict=True))
        if kind == "box":
            box = (left, top, min(WIDTH, left + width), min(HEIGHT, top + height))
        elif kind in ("added", "removed"):
            clicks.append((left, top, 1 if kind == "added" else -1))
    return Said(box=box, clicks=clicks)


def mask(page: Page) -> np.ndarray:
    """Return the mask that the page shows, uint8 (H, W)."""
    return page.canvas("#after")[..., 0]


def expected(picture: Path, maps: PromptMaps) -> np.ndarray:
    """Return the mask that the network's rule gives, uint8 (H, W)."""
    red = resize_bilinear(np.asarray(Image.open(picture)), SIDE, SIDE)[..., 0] / 255
    levels = np.rint(255 * (red + maps.certainty * (maps.target - red)))
    probability = np.clip(levels / 255, 0.001, 0.999)
    return enlarged_levels(np.log(probability / (1 - probability)).astype(np.float32), HEIGHT, WIDTH)


def test_the_mask_follows_a_box_and_clicks_and_the_way_back(page, picture):
    alone = mask(page)
    shown = [alone]
    take(page, "box")
    page.point(HAND, (0.3, 0.2), (0.5, 0.4), (0.71, 0.83))
    page.wait_for("done", "With a box: Found one object")
    shown.append(mask(page))
    take(page, "add")
    page.point(HAND, (0.1, 0.5))
    page.wait_for("done", "With a box and a click: Found 2 parts")
    shown.append(mask(page))
    page.point(HAND, (0.6, 0.5), button="right")
    page.wait_for("done", "With a box and 2 clicks: Found 2 parts")
    given = said(page)
    assert given.box == pytest.approx((0.3 * WIDTH, 0.2 * HEIGHT, 0.71 * WIDTH, 0.83 * HEIGHT), abs=0.3)
    assert [sign for *_, sign in given.clicks] == [1, -1]
    maps = given.maps(HEIGHT, WIDTH, SIDE)
    np.testing.assert_allclose(mask(page), expected(picture, maps), atol=2)
    for stage, values in enumerate(maps):  # what the network was given, to one of 255 levels
        page.find("#stage").send_keys("\ue011", *[RIGHT] * stage)
        np.testing.assert_allclose(page.canvas("figure[data-kind=mask] canvas")[..., 0], 255 * values, atol=1.01)

    page.find("#save-json").click()
    assert len(json.loads(page.downloaded("growing.json"))["annotations"]) == 2
    for words, before in (("With a box and a click:", shown[2]), ("With a box:", shown[1]), ("Found", shown[0])):
        page.find(UNDO).click()
        page.wait_for("done", words)
        np.testing.assert_array_equal(mask(page), before)
    assert not page.find(UNDO).is_enabled()


def test_a_second_box_takes_the_place_of_the_first_and_clear_of_all(page):
    alone = mask(page)
    take(page, "box")
    page.point(HAND, (0.9, 0.9), (0.5, 0.5))  # from the far corner
    page.wait_for("done", "With a box:")
    page.point(HAND, (0.1, 0.1))
    assert page.text("#tool-words") == "Now the opposite corner."
    page.point(HAND, (0.4, 0.5))
    page.wait_for("done", "With a box: Nothing found")
    assert said(page).box == pytest.approx((0.1 * WIDTH, 0.1 * HEIGHT, 0.4 * WIDTH, 0.5 * HEIGHT), abs=0.3)
    page.find(UNDO).click()
    page.wait_for("done", "With a box:")
    assert said(page).box == pytest.approx((0.5 * WIDTH, 0.5 * HEIGHT, 0.9 * WIDTH, 0.9 * HEIGHT), abs=0.3)
    page.point(HAND, (0.05, 0.05))  # a corner that a drag then makes needless
    page.point(HAND, (0.3, 0.3), (0.5, 0.5), (0.7, 0.7))
    page.wait_for("done", "With a box:")
    assert said(page).box == pytest.approx((0.3 * WIDTH, 0.3 * HEIGHT, 0.7 * WIDTH, 0.7 * HEIGHT), abs=0.3)
    page.find(CLEAR).click()
    page.wait_for("done", "Found")
    assert said(page).is_empty
    np.testing.assert_array_equal(mask(page), alone)


def test_by_finger(page):
    page.emulate(*PHONE, **LIGHT)
    take(page, "box")
    page.touch(HAND, (0.2, 0.2), (0.5, 0.5), (0.8, 0.8))
    page.wait_for("done", "With a box:")
    take(page, "remove")
    page.touch(HAND, (0.7, 0.5))
    page.wait_for("done", "With a box and a click:")
    assert [sign for *_, sign in said(page).clicks] == [-1]


def test_by_keyboard(page):
    """The cross begins in the middle; the first Enter sets a corner, the second the opposite one."""
    page.find("#tools input[value=compare]").send_keys(RIGHT)
    page.run("document.getElementById('cut').focus(); document.getElementById('hand').focus()")
    page.press(*[LEFT + UP] * 20, ENTER, *[RIGHT + DOWN] * 30)
    assert page.text("#tool-words") == "The cross is 60 % from the left and 60 % from the top."
    page.press(ENTER)
    page.wait_for("done", "With a box:")
    assert said(page).box == pytest.approx((0.3 * WIDTH, 0.3 * HEIGHT, 0.6 * WIDTH, 0.6 * HEIGHT))
    take(page, "add")
    page.run("document.getElementById('hand').focus()")
    page.press(ENTER)
    page.wait_for("done", "With a box and a click:")
    page.find("body").send_keys("\ue009z")
    page.wait_for("done", "With a box:")


def test_another_picture_begins_anew(page, picture, tmp_path):
    take(page, "add")
    page.point(HAND, (0.5, 0.5))
    page.wait_for("done", "With a click:")
    (tmp_path / "other.png").write_bytes(picture.read_bytes())
    page.choose(tmp_path / "other.png")
    page.wait_for("done", "Found")
    assert said(page).is_empty
    assert not page.find(CLEAR).is_enabled()


@pytest.mark.parametrize("order", ["click file", "file click", "click click file", "click file click"])
def test_a_file_that_is_no_picture_takes_no_click_away(page, picture, order):
    """The file is opened, and clicks are made, while the mask of a click is still being computed."""
    take(page, "add")
    page.run(CLICK_AND_OPEN, *order.split())
    page.wait_for("done", "“notes.txt” is not a picture")
    clicks = order.count("click")
    assert f"BMP file. With {'a click' if clicks == 1 else '2 clicks'}: Found" in page.status
    assert len(said(page).clicks) == clicks
    np.testing.assert_allclose(mask(page), expected(picture, said(page).maps(HEIGHT, WIDTH, SIDE)), atol=2)


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, LIGHT), (PHONE, DARK)])
def test_axe_finds_nothing(page, size, scheme):
    page.emulate(*size, **scheme, prefers_reduced_motion="reduce")
    take(page, "add")
    page.point(HAND, (0.5, 0.5))
    page.wait_for("done", "With a click:")
    assert page.violations() == []
    assert page.run("return document.documentElement.scrollWidth") <= size[0]


def test_a_file_without_the_inputs_says_why_there_are_no_tools(browser, picture, tmp_path):
    model = write_red_onnx(tmp_path / "red.onnx", METADATA)
    with served(make_site(model, real_runtime(), OnnxNetwork(model))) as address:
        browser.open(address)
        browser.choose(picture)
        browser.wait_for("done", "Found")
        assert not browser.find("#tools").is_displayed()
        assert browser.text("#about-tools").startswith("Boxes and clicks cannot correct this mask: the file was")
        assert browser.find("#about-tools").is_displayed()


@pytest.mark.parametrize(
    ("folder", "about"),
    [("exported_prompts", "This network learned without boxes and clicks"), ("exported_stage_prompts", "")],
)
def test_a_box_and_a_click_give_the_mask_of_predict(folder, about, browser, picture, request):
    """A RUN gives the same mask for a prompt on the page and for the same prompt to the checkpoint in Python."""
    exported = request.getfixturevalue(folder)
    model = exported / EXPORTED
    with served(make_site(model, real_runtime(), OnnxNetwork(model))) as address:
        browser.open(address)
        browser.choose(picture)
        browser.wait_for("done")
        browser.find("#views input[value=map]").click()
        text = browser.text("#about-tools")
        assert text.startswith(about)
        assert bool(text) == bool(about)
        alone = mask(browser)
        take(browser, "box")
        browser.point(HAND, (0.3, 0.2), (0.7, 0.8))
        browser.wait_for("done", "With a box:")
        predictor = Predictor(exported / CHECKPOINT, device="cpu")
        wanted, without = predictor(picture, box=said(browser).box).mask8, predictor(picture).mask8
        assert np.abs(wanted.astype(int) - without).max() > 20, "a box that changes nothing would show nothing"
        np.testing.assert_allclose(alone, without, atol=2)
        np.testing.assert_allclose(mask(browser), wanted, atol=2)
        take(browser, "add")
        browser.point(HAND, (0.4, 0.5))
        browser.wait_for("done", "With a box and a click:")
        given = said(browser)
        wanted = predictor(picture, box=given.box, clicks=given.clicks).mask8
        np.testing.assert_allclose(mask(browser), wanted, atol=2)


MARKS = """
return [...document.querySelectorAll('#marks span')].map(({className, style}) =>
  [className, ...['left', 'top', 'width', 'height'].map(side => parseFloat(style[side]) || 0)]);
"""

CLICK_AND_OPEN = """
const data = new DataTransfer(), paste = new Event('paste', {bubbles: true}), hand = document.getElementById('hand');
data.items.add(new File(['no picture'], 'notes.txt'));
Object.defineProperty(paste, 'clipboardData', {value: data});
const acts = {
  click: () => hand.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', cancelable: true})),
  file: () => document.body.dispatchEvent(paste),
};
for (const act of arguments) acts[act]();
"""
"""Click where the cross is, and paste a file that is no picture, in some order, before anything is computed."""
