"""A user's way through the page of `src.demo`, in a real browser; the network is made by hand: mask = red channel."""

from __future__ import annotations

import functools
import http.server
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from src.data.pillow_resize import resize_bilinear
from src.inference.enlarge import enlarged_levels
from src.inference.onnx_network import Levels, OnnxNetwork
from src.inference.pictures import Picture
from src.inference.results import Result
from src.inference.site import Site, make_site
from tests.fixtures.browser import DARK, LIGHT, PHONE, WIDE, Page, chromium, real_runtime, served
from tests.fixtures.staged_onnx import write_staged_onnx

pytestmark = pytest.mark.slow

TAB, ENTER, SPACE, LEFT, RIGHT, HOME = "\ue004", "\ue007", " ", "\ue012", "\ue014", "\ue011"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of :func:`write_staged_onnx`."""
    return write_staged_onnx(tmp_path_factory.mktemp("page") / "model.onnx")


@pytest.fixture(scope="module")
def site(model: Path) -> Site:
    """The page with that network."""
    return make_site(model, real_runtime(), OnnxNetwork(model))


@pytest.fixture(scope="module")
def address(site: Site) -> Iterator[str]:
    """Where the page is served."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One Chromium for all tests of this file."""
    with chromium(tmp_path_factory.mktemp("downloads")) as page:
        yield page


@pytest.fixture
def page(browser: Page, address: str) -> Iterator[Page]:
    """The page, ready; at the end the console has said nothing, and no other host was asked for anything."""
    with browser.watched(address):
        browser.emulate(*WIDE, **LIGHT)
        browser.open(address)
        yield browser


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PNG of the network's size: a red disc with a hole, and a ring with a square that touches it at a corner."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 1] = np.arange(64)
    cv2.ellipse(image, (35, 29), (14, 9), 20, 0, 360, (230, 30, 40), -1)
    image[27:31, 32:35, 0] = 12
    image[46:56, 4:20, 0] = 180
    image[49:52, 8:12, 0] = 0
    image[56:60, 20:24, 0] = 180
    path = tmp_path_factory.mktemp("pictures") / "disc in red.png"
    Image.fromarray(image).save(path)
    return path


def filled(polygons: list[list[float]], height: int, width: int) -> np.ndarray:
    """Return polygons as a mask, uint8 (H, W), 1 inside, drawn four times as large and sampled at pixel centres."""
    drawn = np.zeros((4 * height, 4 * width), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(drawn, [np.round(4 * np.array(polygon).reshape(-1, 2)).astype(np.int32)], 1)
    return np.ascontiguousarray(drawn[2::4, 2::4])


def shrunk(path: Path) -> np.ndarray:
    """Return the network's input for a picture, uint8 (64, 64, 3)."""
    return resize_bilinear(np.asarray(Image.open(path)), 64, 64)


def expected(path: Path) -> Result:
    """Return the mask that the page should show: the red channel of the network's input, enlarged as logits."""
    probability = np.clip(shrunk(path)[..., 0] / 255, 0.001, 0.999)
    image = np.asarray(Image.open(path))
    levels = enlarged_levels(np.log(probability / (1 - probability)).astype(np.float32), *image.shape[:2])
    return Result(Picture(path.name, image), Levels(levels), 0.0)


def share_alike(one: np.ndarray, other: np.ndarray) -> float:
    """Return the share of values that differ by one level at most."""
    return float((np.abs(one.astype(int) - other) <= 1).mean())


def test_a_persons_way(page, picture):
    assert page.status.startswith("Ready after")
    page.choose(picture)
    page.wait_for("done", "Found")
    wanted = expected(picture)
    annotations = wanted.to_json()["annotations"]
    assert page.status.startswith("Found 2 parts")
    assert f"The largest is in the middle, mean probability {100 * annotations[0]['score']:.0f} %" in page.status

    assert share_alike(page.canvas("#after")[..., :3], wanted.overlay()) > 0.999
    page.find("#views input[value=cutout]").click()
    np.testing.assert_allclose(page.canvas("#after")[..., 3], wanted.mask8, atol=1)
    page.find("#views input[value=map]").click()
    page.find("#save-png").click()
    with Image.open(io.BytesIO(page.downloaded("disc in red_map.png"))) as saved:
        np.testing.assert_allclose(np.asarray(saved.convert("L")), wanted.mask8, atol=1)
    assert page.status == "Saved disc in red_map.png."

    page.find("#save-json").click()
    found = json.loads(page.downloaded("disc in red.json"))
    assert (found["images"], found["categories"]) == (wanted.to_json()["images"], wanted.to_json()["categories"])
    for one, other in zip(found["annotations"], annotations, strict=True):
        assert (one["id"], one["bbox"]) == (other["id"], other["bbox"])
        assert (one["area"], one["score"]) == (
            pytest.approx(other["area"], abs=2),
            pytest.approx(other["score"], abs=0.01),
        )
    for one, region in zip(found["annotations"], wanted.regions(), strict=True):
        drawn, exact = filled(one["segmentation"], 64, 64), filled([region.outline(0).ravel().tolist()], 64, 64)
        touched = np.ones((3, 3), np.uint8)  # an outline may leave out staircases of one pixel
        assert (cv2.erode(exact, touched) <= drawn).all()
        assert (drawn <= cv2.dilate(exact, touched)).all()


@pytest.mark.parametrize("size", [(2000, 2100), (900, 70), (40, 50)])
def test_saved_at_its_own_size(page, tmp_path, size):
    """Large, tall (Pillow then shrinks the height first) and smaller than the network's input: shrunk as by Pillow."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    image = np.stack((np.hypot(rows - 30, columns - 20) / max(size) * 200, rows % 256, columns % 256), axis=-1).astype(
        np.uint8
    )
    image[5:30, 10:30, 0] = 255
    Image.fromarray(image).save(tmp_path / "picture.png", compress_level=1)
    page.choose(tmp_path / "picture.png")
    page.wait_for("done")
    page.find("#views input[value=map]").click()
    page.find("#save-png").click()
    with Image.open(io.BytesIO(page.downloaded("picture_map.png"))) as saved:
        np.testing.assert_allclose(np.asarray(saved.convert("L")), expected(tmp_path / "picture.png").mask8, atol=1)


def test_the_stages_are_a_scrubber(page, picture):
    page.choose(picture)
    page.wait_for("done")
    assert page.text("#stops") == "M₀M₁M₂final"
    slider = page.find("#stage")
    slider.send_keys(HOME)
    shown: dict[str, list[np.ndarray]] = {"mask": [], "background": [], "edge": []}
    for _ in range(4):
        for kind, values in shown.items():
            values.append(page.canvas(f"figure[data-kind={kind}] canvas"))
        slider.send_keys(RIGHT)
    small = shrunk(picture)
    for k, shift in enumerate((2, 1, 0)):
        np.testing.assert_array_equal(shown["mask"][k][..., 0], small[..., 0] >> shift)
    np.testing.assert_allclose(shown["mask"][3][..., 0], expected(picture).mask8, atol=1)
    np.testing.assert_array_equal(shown["background"][1][..., :3], small >> 1)
    np.testing.assert_array_equal(shown["edge"][2][..., 1], ~small[..., 0])
    assert shown["edge"][0].shape == (1, 1, 4)  # M_0 has neither
    assert page.text("#stage-words").startswith("The final mask:")
    slider.send_keys(HOME)
    assert page.text("#stage-words") == "The first guess: 0 % of the picture."
    assert slider.get_attribute("aria-valuetext") == page.text("#stage-words")


def test_a_file_that_is_no_picture(page, picture, tmp_path):
    page.choose(picture)
    page.wait_for("done")
    (tmp_path / "notes.txt").write_text("no picture")
    page.choose(tmp_path / "notes.txt")
    page.wait_for("done", "“notes.txt” is not a picture that this browser can read")
    assert page.text("#name") == picture.name  # the result before is still there


def test_pasted_and_dropped(page):
    """The dropped data are made in the page, because a test cannot drag from a desktop."""
    for event, carrier in (("paste", "clipboardData"), ("drop", "dataTransfer")):
        page.run("document.getElementById('status').textContent = ''")
        page.run(GIVE, event, carrier)
        page.wait_for("done", "Found one object in the middle. It covers 100 % of the picture")
        assert page.text("#name") == f"{event}.png"


def test_by_keyboard_alone(page):
    """From the first Tab to a saved file; the focus is visible at each step."""
    visited = []

    def tab_to(wanted: str) -> None:
        for _ in range(20):
            page.press(TAB)
            visited.append(page.focused())
            assert page.run(VISIBLE_FOCUS), visited[-1]
            if visited[-1] == wanted:
                return
        pytest.fail(f"{wanted} is not reached: {visited}")

    page.run("document.body.focus()")
    tab_to("choose")
    tab_to("examples/dragonfly.jpg")
    page.press(ENTER)
    page.wait_for("done", "Found")
    tab_to("cut")
    page.press(LEFT, LEFT)
    assert page.find("#cut").get_attribute("value") == "23"
    tab_to("overlay")
    page.press(RIGHT)
    assert page.focused() == "cutout"
    tab_to("save-png")
    page.press(SPACE)
    with Image.open(io.BytesIO(page.downloaded("dragonfly_cutout.png"))) as saved:
        assert (saved.mode, saved.size) == ("RGBA", (720, 540))
    tab_to("save-json")
    page.press(ENTER)
    assert json.loads(page.downloaded("dragonfly.json"))["images"][0]["width"] == 720
    tab_to("stage")
    page.press(HOME, RIGHT)
    assert page.text("#stage-words").startswith("Stage 1 of 2:")


@pytest.mark.parametrize(("size", "scheme"), [(WIDE, LIGHT), (PHONE, DARK)])
def test_axe_finds_nothing(page, picture, size, scheme):
    page.emulate(*size, **scheme, prefers_reduced_motion="reduce")
    assert page.violations() == []
    page.choose(picture)
    page.wait_for("done")
    assert page.violations() == []
    assert page.run("return document.documentElement.scrollWidth") <= size[0]
    assert page.run("return document.getAnimations().length") == 0


def test_any_static_host_serves_it(site, browser, tmp_path):
    """The page is written as a folder and served below a path by a plain web server."""
    site.write(tmp_path / "some" / "place")
    handler = functools.partial(QuietHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/some/place/")
        server.shutdown()


def test_opened_as_a_file(site, browser, tmp_path):
    site.write(tmp_path / "page")
    browser.driver.get((tmp_path / "page" / "index.html").as_uri())
    browser.wait_for("failed", "This page was opened as a file")
    assert "http.server" in browser.status


def test_a_model_that_is_missing(site, browser):
    with served(Site({name: file for name, file in site.files.items() if name != "model.onnx"})) as address:
        browser.driver.get(address)
        browser.wait_for("failed", "The network could not be started: model.onnx cannot be loaded (404)")


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Python's own server, without its log."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""


GIVE = """
const [event, carrier] = arguments, canvas = new OffscreenCanvas(40, 30), context = canvas.getContext('2d');
context.fillStyle = '#ff0000';
context.fillRect(0, 0, 40, 30);
canvas.convertToBlob().then(blob => {
  const data = new DataTransfer();
  data.items.add(new File([blob], `${event}.png`, {type: 'image/png'}));
  const made = new Event(event, {bubbles: true, cancelable: true});
  Object.defineProperty(made, carrier, {value: data});
  document.body.dispatchEvent(made);
});
"""
"""Make a red picture in the page and hand it over as a paste or a drop."""

VISIBLE_FOCUS = """
const drawn = element => getComputedStyle(element).outlineStyle !== 'none'
  && parseFloat(getComputedStyle(element).outlineWidth) >= 2;
const focused = document.activeElement;
return focused.matches(':focus-visible')
  && [focused, focused.nextElementSibling, focused.parentElement].some(one => one && drawn(one));
"""
"""Whether the focused element, the label drawn for it, or the frame around it has an outline."""
