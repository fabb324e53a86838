"""Imports with optional dependencies hidden."""

from __future__ import annotations

import importlib
import sys

import pytest

from src.utils.hidden import hidden


def test_a_hidden_package_is_absent_inside_and_there_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with hidden("colorsys"), pytest.raises(ImportError):
        importlib.import_module("colorsys")
    assert importlib.import_module("colorsys").rgb_to_hsv(0, 0, 0) == (0, 0, 0)


def test_what_is_loaded_already_stays():
    with hidden("sys"):
        assert importlib.import_module("sys") is sys
