"""Edit docstrings for the API pages: ``method.md 3.1`` becomes a link, and absolute values keep their bars.

reStructuredText takes ``|x|`` for a substitution; our docstrings mean the absolute value.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

LITERAL = re.compile(r"(``.*?``)")
REFERENCE = re.compile(r"method\.md(?: (?P<section>\d(?:\.\d)?))?")


def link(found: re.Match[str]) -> str:
    """Return the reference of one mention, to the section's label or to the page."""
    section = found["section"]
    if section is None:
        return ":doc:`the method </explanation/method>`"
    return f":ref:`method {section} <method-{section.replace('.', '-')}>`"


def edit(line: str) -> str:
    """Return one line of a docstring with links, and with its bars escaped outside literals."""
    parts = LITERAL.split(line)
    return REFERENCE.sub(link, "".join(part if i % 2 else part.replace("|", r"\|") for i, part in enumerate(parts)))


def replace(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Edit a docstring's lines in place (autodoc's event)."""
    lines[:] = [edit(line) for line in lines]


def skip(app: Sphinx, what: str, name: str, obj: object, skipped: bool, options: object) -> bool | None:
    """Leave out a NamedTuple's fields, for which Python's docstrings only give a number; the class describes them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Listen to autodoc."""
    app.connect("autodoc-process-docstring", replace)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True}
