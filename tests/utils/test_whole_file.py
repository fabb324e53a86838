"""A write that fails changes nothing."""

from __future__ import annotations

import os

import pytest

from src.utils.whole_file import write_whole


def test_a_failed_write_changes_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    (tmp_path / "mask.png").write_bytes(b"before")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "mask.png", b"after")
    assert [path.name for path in tmp_path.iterdir()] == ["mask.png"]
    assert (tmp_path / "mask.png").read_bytes() == b"before"
