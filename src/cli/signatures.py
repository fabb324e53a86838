"""Names of the parameters of a class or function, read from its source.

Nothing is imported, which would take seconds for torch.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

Definition = ast.ClassDef | ast.FunctionDef
MOST_STEPS = 20
"""Largest number of imports and base classes followed: sources may refer to each other in circles."""


class Unreadable(Exception):
    """The parameter names cannot be found in the source."""


def parameter_names(target: str) -> set[str] | None:
    """Return the keywords that the target at a dotted path takes.

    Re-exports (``lightning.pytorch.Trainer``), inherited constructors and dataclasses are followed.

    Returns:
        None if it takes any keyword, or if its source cannot be followed.
    """
    try:
        return _of(*_find(target, MOST_STEPS), MOST_STEPS)
    except (Unreadable, OSError, SyntaxError):
        return None


def _of(definition: Definition, module: str, steps: int) -> set[str] | None:
    if isinstance(definition, ast.FunctionDef):
        return _arguments(definition)
    for statement in definition.body:
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
            names = _arguments(statement)
            return names and names - {"self"}
    if any("dataclass" in ast.unparse(decorator) for decorator in definition.decorator_list):
        return {
            one.target.id
            for one in definition.body
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
        }
    if not definition.bases or not steps:
        raise Unreadable(definition.name)
    return _of(*_named(ast.unparse(definition.bases[0]), module, steps - 1), steps - 1)


def _arguments(function: ast.FunctionDef) -> set[str] | None:
    given = function.args
    return None if given.kwarg else {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)}


def _find(target: str, steps: int) -> tuple[Definition, str]:
    """Return the definition at a dotted path, and the module that it is in."""
    module, _, name = target.rpartition(".")
    if not module:
        raise Unreadable(target)
    return _named(name, module, steps)


def _named(name: str, module: str, steps: int) -> tuple[Definition, str]:
    """Return the definition that ``name`` refers to inside ``module``, and the module that it is in."""
    if not steps:
        raise Unreadable(name)
    first, _, rest = name.partition(".")
    file, is_package = _source(module)
    for statement in _statements(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(statement, Definition) and statement.name == name:
            return statement, module
        if isinstance(statement, ast.ImportFrom):
            source = _absolute(statement, module, is_package)
            for alias in statement.names:
                if first == (alias.asname or alias.name):
                    return _find(".".join(filter(None, [source, alias.name, rest])), steps - 1)
                if alias.name == "*":
                    with suppress(Unreadable):
                        return _named(name, source, steps - 1)
    raise Unreadable(name)


def _statements(module: ast.Module) -> Iterator[ast.stmt]:
    """Yield the statements of a module, those under a condition (``if TYPE_CHECKING``) included."""
    for statement in module.body:
        yield from statement.body if isinstance(statement, ast.If) else [statement]


def _absolute(statement: ast.ImportFrom, module: str, is_package: bool) -> str:
    above = module.split(".")[: len(module.split(".")) - statement.level + is_package] if statement.level else []
    return ".".join([*above, *filter(None, [statement.module])])


def _source(module: str) -> tuple[Path, bool]:
    """Return the file of a module and whether it is a package.

    `importlib.util.find_spec` would import the packages above it.
    """
    spec, path, name = None, None, ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            raise Unreadable(module)
        path = spec.submodule_search_locations
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise Unreadable(module)
    return Path(spec.origin), path is not None
