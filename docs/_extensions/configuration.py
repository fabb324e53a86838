"""Tables of settings, made from the YAML files of ``conf/`` and the comments in them.

Directives::

    ```{settings} train.yaml
    ```
    ```{choices} encoder
    ```
    ```{measures}
    ```
    ```{sets}
    ```

``settings`` lists the keys that one file sets itself, each with its default and the comment beside it. ``choices``
lists the files of a group but ``base``, which the others include, each with the comment at its head. ``measures`` lists
the registry of measures, ``sets`` the published data sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

CONF = Path(__file__).resolve().parents[2] / "conf"
LINE = re.compile(r"^(?P<indent> *)(?P<key>[\w.]+):(?: +(?P<value>[^#]*?))?(?: *#(?P<comment>.*))?$")
HIDDEN = {"defaults", "hydra", "task_name"}


class Setting(NamedTuple):
    """One key of a file: its dotted name, its default as written, and the comment beside it."""

    key: str
    default: str
    comment: str


def read_settings(path: Path) -> Iterator[Setting]:
    """Yield the settings of a YAML file in order, without the keys that Hydra uses itself."""
    parents: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        found = LINE.match(line)
        if not found:
            continue
        indent = len(found["indent"])
        parents = [parent for parent in parents if parent[0] < indent]
        parents.append((indent, found["key"]))
        names = [name for _, name in parents]
        if names[0] in HIDDEN or names[-1].startswith("_"):
            continue
        value, comment = (found["value"] or "").strip(), (found["comment"] or "").strip()
        if value or comment:
            yield Setting(".".join(names), value, comment)


def head_comment(path: Path) -> str:
    """Return the comment at the head of a YAML file as one line; if there is none, what the file sets."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package") or (not lines and not line.strip()):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    return " ".join(lines) or "sets " + ", ".join(
        f"`{one.key}={one.default}`" for one in read_settings(path) if one.default
    )


class _Table(SphinxDirective):
    """Parses a Markdown table that a subclass writes."""

    required_arguments = 1

    def rows(self, place: Path) -> list[str]:
        raise NotImplementedError

    def run(self) -> list[nodes.Node]:
        place = CONF / self.arguments[0]
        self.env.note_dependency(str(place))
        container = nodes.container()
        self.state.nested_parse(StringList([*self.rows(place), ""], source=str(place)), 0, container)
        return container.children


class SettingsTable(_Table):
    """The keys of one file of ``conf/``."""

    def rows(self, place: Path) -> list[str]:
        """Return one line per key."""
        lines = ["| setting | default | meaning |", "|---|---|---|"]
        return lines + [
            f"| `{one.key}` | {_code(one.default)} | {_cell(one.comment)} |" for one in read_settings(place)
        ]


class ChoicesTable(_Table):
    """The choices of one group of ``conf/``."""

    def rows(self, place: Path) -> list[str]:
        """Return one line per choice."""
        group = self.arguments[0]
        lines = ["| choice | what it is |", "|---|---|"]
        return lines + [
            f"| `{group}={path.stem}` | {_cell(head_comment(path))} |"
            for path in sorted(place.glob("*.yaml"))
            if path.stem != "base"
        ]


class MeasuresTable(SphinxDirective):
    """Every measure of the registry (`src.metrics.registry`)."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from src.metrics.registry import MEASURES

        lines = ["| key | printed as | better | meaning |", "|---|---|---|---|"]
        for one in MEASURES.values():
            extra = " *(extra)*" if one.extra else ""
            lines.append(f"| `{one.name}` | {one.label} | {one.arrow} | {_cell(one.meaning)}{extra} |")
        container = nodes.container()
        self.state.nested_parse(StringList([*lines, ""]), 0, container)
        return container.children


class SetsTable(SphinxDirective):
    """Every published data set (`src.data.published_sets`): its images, and where to ask for it."""

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        from src.data.published_sets import SETS

        lines = ["| set | training images | test images | publication, and where to ask |", "|---|---:|---:|---|"]
        for one in SETS.values():
            lines.append(f"| `{one.name}` | {one.train or ''} | {one.test or ''} | {_cell(one.source)} |")
        container = nodes.container()
        self.state.nested_parse(StringList([*lines, ""]), 0, container)
        return container.children


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|") if text else ""


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", r"\<")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("settings", SettingsTable)
    app.add_directive("choices", ChoicesTable)
    app.add_directive("measures", MeasuresTable)
    app.add_directive("sets", SetsTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
