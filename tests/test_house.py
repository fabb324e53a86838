"""The shape of the sources: functions that fit on a screen, short commands, and W&B only in its logger."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
COMMANDS = ("train", "eval", "predict", "export", "demo", "score", "profile")
LONGEST_FUNCTION, LONGEST_TRAIN, LONGEST_COMMAND = 50, 40, 90


def test_no_function_is_longer_than_a_screen():
    too_long = [
        f"{path.relative_to(SRC)}:{one.lineno} {one.name}"
        for path, one in _functions()
        if _length(one) > LONGEST_FUNCTION
    ]
    assert too_long == []
    assert [
        _length(one) <= LONGEST_TRAIN for path, one in _functions() if (path.name, one.name) == ("train.py", "train")
    ] == [True]


def test_commands_are_short():
    lengths = {name: len((SRC / f"{name}.py").read_text(encoding="utf-8").splitlines()) for name in COMMANDS}
    assert {name: length for name, length in lengths.items() if length > LONGEST_COMMAND} == {}


def test_wandb_is_imported_by_its_logger_alone():
    found = {path.relative_to(SRC).as_posix() for path in SRC.rglob("*.py") if "wandb" in _imported(path)}
    assert found == {"loggers/wandb.py"}


def _functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(SRC.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield path, node


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def _imported(path: Path) -> set[str]:
    """Top-level packages that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found
