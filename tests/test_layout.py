"""The layout of the tests: one folder per package of `src`, helpers in `tests/fixtures`, no imports between tests."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.fixtures.tiny import ROOT

TESTS = ROOT / "tests"
OF_NO_ROOM = {"conf", "docs", "fixtures", "scripts"}
"""Folders of tests that mirror a folder beside `src`, and the helpers."""


def imported(path: Path) -> Iterator[str]:
    """Modules that a file imports, those within functions included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_no_test_imports_another():
    wrong = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in TESTS.rglob("*.py")
        for module in imported(path)
        if module.split(".")[0] == "tests" and module.split(".")[1:2] != ["fixtures"]
    }
    assert wrong == set()


def test_folders_of_tests_are_rooms_of_src():
    rooms = {path.relative_to(ROOT / "src") for path in (ROOT / "src").rglob("*") if path.is_dir()}
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")} - {Path()}
    assert {folder for folder in folders if folder.parts[0] not in OF_NO_ROOM} <= rooms
