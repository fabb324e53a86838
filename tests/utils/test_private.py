"""The private attributes of other libraries: missing ones are reported, and no other file uses any."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from src.utils.private import TOUCHED

SRC = Path(__file__).parents[2] / "src"
ALLOWED = {"_replace", "_asdict", "_fields", "_exit", "_target_"}
"""Documented parts of named tuples, `os._exit`, and Hydra's key."""


@pytest.mark.parametrize(("owner", "attribute"), [(owner, name) for owner, names in TOUCHED.items() for name in names])
def test_what_is_touched_is_still_there(owner, attribute):
    """A module's attribute, or a class's: defined by it or set in one of its methods."""
    found = _get(owner)
    classes = found.__mro__[:-1] if inspect.isclass(found) else []
    is_set = any(f"self.{attribute}" in inspect.getsource(one) for one in classes if one.__module__ != "builtins")
    assert hasattr(found, attribute) or is_set, f"{owner} no longer has {attribute}: see src/utils/private.py"


def test_no_other_file_touches_private_attributes_of_others():
    found = [f"{path.relative_to(SRC)}: {name}" for path in sorted(SRC.rglob("*.py")) for name in _foreign(path)]
    overridden = ["loggers/wandb.py: super()._scan_and_log_checkpoints", "metrics/metric.py: super()._apply"]
    assert [one for one in found if not one.startswith("utils/private.py")] == overridden


def _get(path: str) -> object:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def _foreign(path: Path) -> list[str]:
    """Attributes and modules with one leading underscore, but those of ``self`` and ``cls``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Attribute)
            and _is_private(node.attr)
            and ast.unparse(node.value) not in ("self", "cls")
        ):
            found.append(ast.unparse(node))
        if isinstance(node, ast.ImportFrom) and any(map(_is_private, (node.module or "").split("."))):
            found.append(node.module or "")
    return found


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in ALLOWED
