"""Every example in a docstring gives the result that is printed below it."""

from __future__ import annotations

import doctest
import importlib

import pytest

from tests.fixtures.tiny import ROOT

MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for folder in ("src", "scripts")
    for path in (ROOT / folder).rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    if name.startswith("scripts.results."):
        pytest.importorskip("pandas", reason="pip install -e '.[results]'")
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples_in_many_rooms():
    """The search above looks where the modules are."""
    assert {"src.data.splits", "src.metrics.metric", "src.models.run", "src.utils.errors"} <= set(MODULES)
