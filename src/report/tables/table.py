"""One table in four formats: Markdown, LaTeX (booktabs), HTML and the terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import NamedTuple

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from src.metrics import MEASURES


class Head(NamedTuple):
    """A column's heading, and its LaTeX form (None: the same text)."""

    text: str
    latex: str | None = None
    is_number: bool = True


class Cell(NamedTuple):
    """A cell's text, and its `mark`: "", "best" or "second"."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings.

    `breaks`: indices of the rows below a rule. `spans`: headings over several columns, as (words, number of columns);
    only LaTeX and HTML show them, so tables for Markdown and the terminal should have none. `notes`: shown under the
    table.
    """

    title: str
    header: Sequence[Head]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    breaks: frozenset[int] = field(default=frozenset())
    spans: Sequence[tuple[str, int]] = ()


def markdown(table: Table) -> str:
    """Return the table in GitHub's Markdown; best in bold, second underlined."""
    marks = {"": "{}", "best": "**{}**", "second": "<ins>{}</ins>"}
    lines = [f"### {table.title}", ""]
    lines.append("| " + " | ".join(_pipe(head.text) for head in table.header) + " |")
    lines.append("|" + "".join("---:|" if head.is_number else "---|" for head in table.header))
    lines += ["| " + " | ".join(marks[cell.mark].format(_pipe(cell.text)) for cell in row) + " |" for row in table.rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in table.notes)]) + "\n"


def latex(table: Table) -> str:
    """Return a `table*` for the packages booktabs and graphicx; best bold, second underlined, notes in the caption."""
    marks = {"": "{}", "best": r"\textbf{{{}}}", "second": r"\underline{{{}}}"}
    lines = [r"\begin{table*}[t]", r"\centering", r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"]
    lines += [r"\begin{tabular}{" + "".join("r" if head.is_number else "l" for head in table.header) + "}", r"\toprule"]
    if table.spans:
        lines += _latex_spans(table.spans)
    lines += [" & ".join(head.latex or tex(head.text) for head in table.header) + r" \\", r"\midrule"]
    for i, row in enumerate(table.rows):
        if i in table.breaks:
            lines.append(r"\midrule")
        lines.append(" & ".join(marks[cell.mark].format(tex(cell.text)) for cell in row) + r" \\")
    caption = " ".join([f"{tex(table.title)}.", *(tex(note) for note in table.notes)])
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", rf"\caption{{{caption}}}", r"\end{table*}"]) + "\n"


def html(table: Table) -> str:
    """Return a `<figure>` with the table and its notes; best in bold, second underlined."""
    marks = {"": "{}", "best": "<b>{}</b>", "second": "<u>{}</u>"}
    kinds = ["" if head.is_number else ' class="name"' for head in table.header]
    lines = ["<figure>", f"<h3>{_html(table.title)}</h3>", '<div class="wide"><table>', "<thead>"]
    if table.spans:
        lines.append(
            "<tr>"
            + "".join(f'<th colspan="{count}" class="span">{escape(words)}</th>' for words, count in table.spans)
            + "</tr>"
        )
    lines.append(
        "<tr>"
        + "".join(f"<th{kind}>{_html(head.text)}</th>" for head, kind in zip(table.header, kinds, strict=True))
        + "</tr>"
    )
    lines += ["</thead>", "<tbody>"]
    for i, row in enumerate(table.rows):
        cells = "".join(
            f"<td{kind}>{marks[cell.mark].format(_html(cell.text))}</td>" for cell, kind in zip(row, kinds, strict=True)
        )
        lines.append(f'<tr class="rule">{cells}</tr>' if i in table.breaks else f"<tr>{cells}</tr>")
    notes = "".join(f"<li>{_html(note)}</li>" for note in table.notes)
    return "\n".join(
        [*lines, "</tbody></table></div>", f"<ul class='notes'>{notes}</ul>" if notes else "", "</figure>"]
    )


def terminal(table: Table) -> RichTable:
    """Return the table for `rich.console`, without its notes; best in bold, second underlined."""
    styles = {"": "", "best": "bold", "second": "underline"}
    out = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
    for head in table.header:  # a narrow terminal wraps long names: if they were cut, two could look the same
        out.add_column(Text(head.text), justify="right" if head.is_number else "left", overflow="fold")
    for i, row in enumerate(table.rows):
        out.add_row(*(Text(cell.text, styles[cell.mark]) for cell in row), end_section=i + 1 in table.breaks)
    return out


def tex(text: str) -> str:
    """Convert plain text to LaTeX: measures and stages as formulas, special characters escaped, symbols as commands."""
    parts = _FORMULA.split(text)
    joined = "".join(_formula(part) if i % 2 else "".join(_TEX.get(c, c) for c in part) for i, part in enumerate(parts))
    return re.sub(r"(?<!\\)\$\$", "", joined)  # β² is one formula


_NAMES = {measure.label: measure.latex for measure in MEASURES.values() if not measure.label.isalpha()}
_SYMBOLS = {"M": "M", "M̂": r"\hat{M}"}
_FORMULA = re.compile(r"(M̂?_\d+|" + "|".join(re.escape(label) for label in sorted(_NAMES, key=len, reverse=True)) + ")")
_MATHS = {
    "α": r"\alpha",
    "β": r"\beta",
    "φ": r"\varphi",
    "×": r"\times",
    "≥": r"\ge",
    "≤": r"\le",
    "±": r"\pm",
    "·": r"\cdot",
    "−": "-",
}
_MATHS |= {"²": "^2", "→": r"\to", "½": r"\frac12", "<": "<", ">": ">"}
_TEX = {c: f"${command}$" for c, command in _MATHS.items()} | {c: "\\" + c for c in "&%$#_{}"}
_TEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "…": r"\dots{}"}


def _formula(name: str) -> str:
    symbol, _, index = name.partition("_")
    return _NAMES.get(name) or f"${_SYMBOLS[symbol]}_{{{index}}}$"


def _html(text: str) -> str:
    """Escape text for HTML, with subscripts and superscripts in the names of measures and stages."""
    parts = _FORMULA.split(escape(text, quote=False))
    return "".join(_indexed(part) if i % 2 else part for i, part in enumerate(parts))


def _indexed(name: str) -> str:
    return re.sub(r"\^(\w+)", r"<sup>\1</sup>", re.sub(r"_(\w+)", r"<sub>\1</sub>", name))


def _latex_spans(spans: Sequence[tuple[str, int]]) -> list[str]:
    cells, rules, column = [], [], 1
    for words, count in spans:
        cells.append(rf"\multicolumn{{{count}}}{{c}}{{{tex(words)}}}" if words else " & ".join([""] * count))
        if words:
            rules.append(rf"\cmidrule(lr){{{column}-{column + count - 1}}}")
        column += count
    return [" & ".join(cells) + r" \\", " ".join(rules)]


def _pipe(text: str) -> str:
    return text.replace("|", "\\|")
