"""No command that writes a file ever overwrites one of its inputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from src.inference.site import Site
from src.report.compare import main as compare
from src.utils.errors import UserError
from src.utils.protected import new_file_problem


def test_a_file_that_is_read_is_not_written_under_any_of_its_names(tmp_path):
    file = tmp_path / "a.ckpt"
    file.write_text("mine")
    os.link(file, tmp_path / "hard.ckpt")
    (tmp_path / "soft.ckpt").symlink_to(file)
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("a.ckpt", "hard.ckpt", "soft.ckpt", "folder/a.ckpt", "sub/../a.ckpt", "A.CKPT"):
        problem = new_file_problem("out", tmp_path / name, [file], overwrite=True)
        assert problem is not None, name
        assert "is an input of this command" in problem
    other = tmp_path / "b.ckpt"
    assert new_file_problem("out", other, [file], overwrite=False) is None
    other.touch()
    assert "exists" in str(new_file_problem("out", other, [file], overwrite=False))
    assert new_file_problem("out", other, [file], overwrite=True) is None
    assert "is a folder" in str(new_file_problem("out", tmp_path, [file], overwrite=True))


def test_a_page_does_not_replace_what_it_is_made_of(tmp_path):
    (tmp_path / "model.onnx").write_text("network")
    site = Site({"model.onnx": tmp_path / "model.onnx", "page.html": b"new"})
    site.write(tmp_path, overwrite=True)  # the network has the right path already
    assert (tmp_path / "model.onnx").read_text() == "network"
    (tmp_path / "other.onnx").write_text("another")
    with pytest.raises(UserError, match=r"other\.onnx is an input"):
        Site({"other.onnx": tmp_path / "model.onnx", "b": tmp_path / "other.onnx"}).write(tmp_path, overwrite=True)
    assert (tmp_path / "other.onnx").read_text() == "another"


def test_comparisons_are_not_written_over_the_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    scores = tmp_path / "per_image.csv"
    scores.write_text("mine")
    monkeypatch.setattr("sys.argv", ["compare", str(scores), "--csv", str(scores)])
    with pytest.raises(SystemExit) as ended:
        compare()
    assert ended.value.code == 2
    assert "exists already; name another file" in capsys.readouterr().err
    assert scores.read_text() == "mine"
