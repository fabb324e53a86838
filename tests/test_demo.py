"""`src.demo`: the page as a folder and as a server, with a stand-in for the browser's runtime."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from src.demo import demo, main
from src.inference import demo as making
from src.inference.onnx_network import OnnxNetwork
from src.inference.serve import SiteServer
from src.inference.site import NO_PROMPTS, PROMPTS_LATE, make_site
from src.utils.errors import UserError
from tests.fixtures.prompted_onnx import write_prompted_onnx
from tests.fixtures.staged_onnx import write_staged_onnx
from tests.fixtures.tiny import config
from tests.fixtures.web_runtime import expect_stand_in, write_runtime

PAGE = Path(making.__file__).parent / "page"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Settings that name a network and a runtime."""
    expect_stand_in(monkeypatch)
    monkeypatch.setenv("COS_CACHE", str(tmp_path / "cache"))
    return [f"ckpt_path={write_staged_onnx(tmp_path / 'net.onnx')}", f"runtime={write_runtime(tmp_path / 'runtime')}"]


def test_out_writes_a_page_for_any_static_host(places, tmp_path, capsys):
    out = tmp_path / "page"
    demo(config("demo", *places, f"out={out}"))
    assert "Written" in capsys.readouterr().out
    written = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    own = {path.relative_to(PAGE).as_posix() for path in PAGE.rglob("*") if path.is_file()}
    runtime = {
        "runtime/ort.wasm.min.mjs",
        "runtime/ort-wasm-simd-threaded.mjs",
        "runtime/ort-wasm-simd-threaded.wasm",
        "runtime/LICENSE",
    }
    assert written == own | runtime | {"model.onnx", "site.json", "README.md"}
    assert (out / "model.onnx").read_bytes() == (tmp_path / "net.onnx").read_bytes()
    site = json.loads((out / "site.json").read_text())
    assert (site["model"], site["note"], site["name"]) == ("model.onnx", "a test", "RUN with tf_efficientnet_lite0")


def test_the_page_is_told_what_boxes_and_clicks_are_worth(tmp_path):
    """The page has a notice if the network takes no prompts or uses them in the closing step only; else it has none."""
    runtime = write_runtime(tmp_path / "runtime")
    late, none = write_prompted_onnx(tmp_path / "late.onnx"), write_staged_onnx(tmp_path / "none.onnx")
    learned = OnnxNetwork(late)
    learned.config = {"model": {"net": {"prompts": {"nu": 1.0}}}}
    for model, network, taken, words in (
        (none, OnnxNetwork(none), False, NO_PROMPTS),
        (late, OnnxNetwork(late), True, PROMPTS_LATE),
        (late, learned, True, ""),
    ):
        site = json.loads(make_site(model, runtime, network).read("site.json"))
        assert site["prompts"] == {"taken": taken, "words": words}


def test_the_folder_is_a_hugging_face_space(places, tmp_path):
    demo(config("demo", *places, f"out={tmp_path / 'page'}"))
    front_matter = (tmp_path / "page" / "README.md").read_text().split("---\n")[1]
    assert yaml.safe_load(front_matter)["sdk"] == "static"


def test_a_folder_in_use_is_left_alone(places, tmp_path):
    out = tmp_path / "page"
    out.mkdir()
    (out / "index.html").write_text("mine")
    with pytest.raises(UserError, match="holds files already; overwrite=true"):
        demo(config("demo", *places, f"out={out}"))
    assert (out / "index.html").read_text() == "mine"
    demo(config("demo", *places, f"out={out}", "overwrite=true"))
    assert (out / "index.html").read_bytes() == (PAGE / "index.html").read_bytes()


def test_out_names_a_file(places, tmp_path):
    with pytest.raises(UserError, match="is a file; name a folder"):
        demo(config("demo", *places, f"out={tmp_path / 'net.onnx'}"))


def test_it_serves_and_opens_the_browser(places, monkeypatch, capsys):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    monkeypatch.setattr(SiteServer, "serve_forever", lambda self: None)
    demo(config("demo", *places, "port=0"))
    assert opened[0].startswith("http://127.0.0.1:")
    assert opened[0] in capsys.readouterr().out


def test_a_checkpoint_is_exported_once(places, tmp_path, monkeypatch):
    exported: list[Path] = []

    def export(checkpoint: Path, target: Path, say: Callable[[str], None]) -> None:
        exported.append(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_staged_onnx(target)

    monkeypatch.setattr(making, "export_with_stages", export)
    checkpoint = tmp_path / "best.ckpt"
    checkpoint.write_bytes(b"weights")
    first = making.cached_export(checkpoint, print)
    assert making.cached_export(checkpoint, print) == first
    assert exported == [checkpoint]
    checkpoint.write_bytes(b"other weights")
    assert making.cached_export(checkpoint, print) != first


def test_mistakes_are_a_sentence_and_status_2(places, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo", f"ckpt_path={tmp_path / 'none.ckpt'}", places[1]])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "no file or folder" in capsys.readouterr().err


def test_the_page_asks_no_other_host():
    """Links for people may lead to other hosts; everything that the page loads is its own."""
    for path in PAGE.rglob("*"):
        if path.suffix in (".html", ".css", ".js", ".mjs"):
            text = path.read_text(encoding="utf-8").replace("http://127.0.0.1:8000", "")
            assert "http://" not in text, path
            assert "https://" not in text, path


def test_the_examples_are_small_and_credited():
    pictures = sorted((PAGE / "examples").glob("*.jpg"))
    assert len(pictures) == 4
    assert sum(path.stat().st_size for path in pictures) < 300_000
    credit, page = (PAGE / "examples" / "LICENSE.txt").read_text(), (PAGE / "index.html").read_text()
    assert all(path.name in credit and f"examples/{path.name}" in page for path in pictures)
