"""Where caches are, for everybody."""

from __future__ import annotations

import getpass
import os
import pwd
import tempfile
from pathlib import Path

import pytest

from src.utils.cache_dir import cache_dir, name_nobody


@pytest.fixture(autouse=True)
def nobody(monkeypatch):
    """A container's user: no variables, no entry among the users."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    for name in ("COS_CACHE", "XDG_CACHE_HOME", "HOME", "LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_a_user_without_a_home():
    assert cache_dir() == Path(tempfile.gettempdir(), f"cache-{os.getuid()}", "reversible-unfolding")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HOME", "{}", "{}/.cache/reversible-unfolding"),
        ("XDG_CACHE_HOME", "{}/c", "{}/c/reversible-unfolding"),
        ("COS_CACHE", "/mine", "/mine"),
    ],
)
def test_what_is_said_counts(tmp_path, monkeypatch, name, value, expected):
    monkeypatch.setenv(name, value.format(tmp_path))
    assert cache_dir() == Path(expected.format(tmp_path))


def test_a_home_that_cannot_be_written(monkeypatch):
    monkeypatch.setenv("HOME", "/proc")
    monkeypatch.setattr(os, "access", lambda path, mode: path != "/proc")
    assert cache_dir().parent.parent == Path(tempfile.gettempdir())


def test_nobody_gets_a_home_and_a_name(monkeypatch):
    monkeypatch.setenv("HOME", "~")
    monkeypatch.setenv("USER", "")
    name_nobody()
    assert os.path.isabs(os.path.expanduser("~"))
    assert getpass.getuser() == f"uid{os.getuid()}"
