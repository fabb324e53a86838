"""Where the cache is, and that a user needs no home folder."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from src.utils.cache_dir import cache_dir, keep, name_nobody


def test_without_a_home_nothing_is_kept_and_nothing_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("COS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    place = cache_dir() / "verdicts" / "x"
    assert not keep(place, b"x")
    assert not place.is_file()
    with pytest.raises(OSError, match="x"):
        place.read_text()


def test_nobody_gets_a_home_and_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        if "USER" in os.environ:
            return os.environ["USER"]
        raise KeyError("uid not found")

    monkeypatch.setenv("HOME", "~")
    monkeypatch.setenv("USER", "")
    monkeypatch.delenv("USER")
    monkeypatch.setattr(getpass, "getuser", unknown)
    name_nobody()
    assert os.path.isabs(os.path.expanduser("~"))
    assert getpass.getuser() == f"uid{os.getuid()}"
