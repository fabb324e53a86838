"""The browser's runtime: fetched once, by npm alone, and never used without its checksum."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.inference.runtime import PACKAGE, web_runtime
from src.utils.errors import UserError
from tests.fixtures.web_runtime import FILES, expect_stand_in, write_npm, write_runtime

WASM = "ort-wasm-simd-threaded.wasm"


@pytest.fixture(autouse=True)
def _cache_and_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COS_CACHE", str(tmp_path / "cache"))
    expect_stand_in(monkeypatch)


def use_npm(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let ``folder`` come first where programs are looked for."""
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_npm_fetches_it_once(tmp_path, monkeypatch):
    use_npm(monkeypatch, write_npm(tmp_path / "bin", {**FILES, "ort.webgpu.mjs": b"not needed"}))
    folder = web_runtime()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert web_runtime() == folder
    assert (tmp_path / "bin" / "calls").read_text() == f"pack {PACKAGE} --silent --ignore-scripts\n"


def test_a_damaged_cache_is_fetched_again(tmp_path, monkeypatch):
    use_npm(monkeypatch, write_npm(tmp_path / "bin", FILES))
    (web_runtime() / WASM).write_bytes(b"half")
    assert (web_runtime() / WASM).read_bytes() == FILES[WASM]


def test_another_checksum_is_refused_and_not_kept(tmp_path, monkeypatch):
    use_npm(monkeypatch, write_npm(tmp_path / "bin", {**FILES, WASM: b"something else"}))
    with pytest.raises(UserError, match="nothing of it is used") as error:
        web_runtime()
    assert f"{WASM} has another checksum" in str(error.value)
    assert list(tmp_path.glob(f"cache/**/{WASM}")) == []


def test_without_npm_both_ways_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as error:
        web_runtime()
    assert ["npm" in error.value.problems[0], "runtime=FOLDER" in error.value.problems[1]] == [True, True]


def test_npm_without_a_network(tmp_path, monkeypatch):
    use_npm(monkeypatch, write_npm(tmp_path / "bin", FILES, status=1))
    with pytest.raises(UserError, match=r"could not fetch onnxruntime-web@\S+ \(npm error: no network\)") as error:
        web_runtime()
    assert "runtime=FOLDER" in str(error.value)


def test_a_folder_of_the_user(tmp_path):
    folder = write_runtime(tmp_path / "own")
    assert web_runtime(str(folder)) == folder
    (folder / WASM).unlink()
    (folder / "ort.wasm.min.mjs").write_bytes(b"another version")
    with pytest.raises(UserError) as error:
        web_runtime(str(folder))
    assert [
        words in problem
        for words, problem in zip(("another checksum", "is missing"), error.value.problems, strict=True)
    ] == [
        True,
        True,
    ]
