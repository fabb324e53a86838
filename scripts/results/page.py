"""Make the tables and figures of the pages in docs/results from the stored results: ``python -m scripts.results.page``.

Nothing is scored again. Text written by hand is kept: for each NAME of `BLOCKS` and `SHORT`, only the text between
``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` is replaced, in whichever page of the folder these lines are.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.results import choice_tables, figures, mechanism_tables, tables
from scripts.results.archive import Results, read_results
from scripts.results.networks import SHOWN, recipes
from src.cli.command import console
from src.cli.script import ScriptParser
from src.report.tables.columns import heading
from src.report.tables.table import Cell, Table, markdown
from src.utils.errors import Problems, UserError

RESULTS = Path("docs/results")


def _of_recipe(is_best: bool, make: Callable[[Results], Sequence[Table]], results: Results) -> Sequence[Table]:
    return make(recipes(results)[is_best])


_MADE: dict[str, Callable[[Results], Sequence[Table]]] = {
    "scores": tables.main_tables,
    "differences": tables.difference_tables,
    "sharpness": tables.sharpness_tables,
    "rounds": tables.round_tables,
    "stages": mechanism_tables.stage_tables,
    "unfolding": mechanism_tables.unfolding_tables,
    "gains": mechanism_tables.gain_tables,
    "starts": mechanism_tables.start_tables,
    "parts": choice_tables.part_tables,
    "tasks": tables.task_tables,
    "rates": tables.rate_tables,
}
_BEST = ("scores", "differences", "sharpness", "rounds", "tasks")
BLOCKS: dict[str, Callable[[Results], Sequence[Table]]] = {
    **{name: partial(_of_recipe, False, make) for name, make in _MADE.items()},
    **{f"best-{name}": partial(_of_recipe, True, _MADE[name]) for name in _BEST},
    "best-choices": partial(_of_recipe, True, choice_tables.choice_tables),
    "prompting": choice_tables.prompting_tables,
    "cost": tables.cost_tables,
}
"""``best-…`` are the tables of the trainings by the recipe `best`."""


class Short(NamedTuple):
    """Some rows of another block's tables.

    Attributes:
        block: the other block.
        rows: the first cells of the rows, without backquotes.
        columns: headings of the columns; empty: all.
        notes: number of notes to keep, counted from the first.
    """

    block: str
    rows: tuple[str, ...]
    columns: tuple[str, ...] = ()
    notes: int = 1


SHORT = {
    "scores-short": Short(
        "scores",
        ("run", "run-closing_step", "fpn_ds", "fpn"),
        ("model", "seeds", *map(heading, SHOWN), "params (M)", "GMACs"),
    ),
    "parts-short": Short(
        "parts",
        (
            *("run", "run_again", "run-closing_step", "run-coupling", "run-context", "run-robe", "run-background_loss"),
            *("run+levels_4", "run_paper", "1", "2", "4", "6"),
        ),
        notes=4,
    ),
    "starts-short": Short(
        "starts",
        ("its own", "the truth", "the truth inverted", "nothing"),
        ("M_0 is", *(f"{stage}: {heading('s_alpha')}" for stage in (*(f"M_{k}" for k in range(5)), "M̂_5"))),
    ),
    "tasks-short": Short(
        "tasks",
        ("run", "run-closing_step", "fpn_ds", "unet+image_skips", "run − fpn_ds", "run-closing_step − fpn_ds"),
        notes=3,
    ),
}
FIGURES: dict[str, tuple[str, Callable[[Results, Path], bool], str]] = {
    "differences": ("differences.png", figures.draw_differences, "RUN minus each rival, with 95 % intervals"),
    "stages": ("stages.png", figures.draw_stages, "scores of M_0 … M_K and of the closing step"),
    "unfolding": ("unfolding.png", figures.draw_unfolding, "μ, λ, α, s, γ, gains and gradients over the epochs"),
}
NOTHING = "*Not measured yet.*"

_BLOCK = re.compile(r"(<!-- begin: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end: (?P=name) -->)", re.DOTALL)


def write_pages(pages: Path, results: Path) -> dict[Path, str]:
    """Write the blocks of all Markdown files below ``pages`` and the figures in ``results``; return each new text.

    Raises:
        UserError: the stored results cannot be used, or the pages do not have each block of `BLOCKS` and `SHORT` once.
    """
    stored = read_results(results)
    found = _pages_with_blocks(pages)
    for file, draw, _ in FIGURES.values():
        if not draw(recipes(stored)[False], results / file):
            (results / file).unlink(missing_ok=True)
    texts = _renewed(found, stored, results)
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8")
    return texts


def page_texts(pages: Path, results: Path) -> dict[Path, str]:
    """Return what `write_pages` would write, with the existing figures; no file is changed."""
    return _renewed(_pages_with_blocks(pages), read_results(results), results)


def main() -> None:
    """Run the command line of :func:`write_pages`."""
    parser = ScriptParser("Tables and figures of the pages in docs/results.")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help=f"folder of the stored results (default: {RESULTS})"
    )
    parser.add_argument(
        "--pages", type=Path, default=RESULTS, help=f"folder of the pages to write (default: {RESULTS})"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit status 1 if a page differs from the stored results"
    )
    parser.run(_check_or_write)


def _check_or_write(arguments: argparse.Namespace) -> int:
    if arguments.check:
        old = [page for page, text in page_texts(arguments.pages, arguments.results).items() if text != _read(page)]
        for page in old:
            console().print(f"{page} differs from the results in {arguments.results}", highlight=False)
        return int(bool(old))
    for page in write_pages(arguments.pages, arguments.results):
        console().print(f"Written: {page}", highlight=False)
    return 0


def _pages_with_blocks(pages: Path) -> dict[Path, str]:
    """Return the pages that have blocks, as they are.

    Raises:
        UserError: a marker is missing, repeated or unknown.
    """
    texts = {page: text for page in sorted(pages.rglob("*.md")) if _BLOCK.search(text := _read(page))}
    found = [match["name"] for text in texts.values() for match in _BLOCK.finditer(text)]
    names = [*BLOCKS, *SHORT]
    missing = (name for name in names if name not in found)
    problems = Problems(
        f"no block {name}: add the lines <!-- begin: {name} --> and <!-- end: {name} -->" for name in missing
    )
    unknown = [name for name in dict.fromkeys(found) if name not in names]
    problems += [f"block {name}: no such block; choose from {', '.join(names)}" for name in unknown]
    problems += [f"block {name} occurs twice" for name in names if found.count(name) > 1]
    problems.raise_all(f"the pages in {pages} cannot be written:")
    return texts


def _renewed(texts: Mapping[Path, str], stored: Results, results: Path) -> dict[Path, str]:
    """Return the pages with new contents between their markers."""
    made = {name: make(stored) for name, make in BLOCKS.items()}
    made |= {name: _shortened(made[short.block], short) for name, short in SHORT.items()}

    def block(match: re.Match[str], page: Path) -> str:
        return f"{match[1]}\n{_block(made, match['name'], page, results)}\n{match['end']}"

    return {page: _BLOCK.sub(partial(block, page=page), text) for page, text in texts.items()}


def _block(made: dict[str, Sequence[Table]], name: str, page: Path, results: Path) -> str:
    texts = [markdown(table) for table in made[name]]
    file, _, words = FIGURES.get(name, ("", None, ""))
    if texts and file and (results / file).exists():
        texts.append(f"![{words}]({Path(os.path.relpath(results / file, page.parent)).as_posix()})\n")
    return "\n".join(texts or [NOTHING + "\n"])


def _shortened(full: Sequence[Table], short: Short) -> list[Table]:
    """Return the wanted rows of each table that has more than two of them.

    Rank marks are removed, because they rank all rows of the full table; bold intervals stay bold.
    """
    found = []
    for table in full:
        named = {row[0].text.replace("`", ""): row for row in table.rows}
        kept = [i for i, head in enumerate(table.header) if not short.columns or head.text in short.columns]
        rows = [[_unranked(named[name][i]) for i in kept] for name in short.rows if name in named]
        header = [table.header[i] for i in kept]
        found += [replace(table, header=header, rows=rows, notes=table.notes[: short.notes])] if len(rows) > 2 else []
    return found


def _unranked(cell: Cell) -> Cell:
    return cell if "[" in cell.text else Cell(cell.text)


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page} cannot be read ({error.strerror})") from error


if __name__ == "__main__":
    main()
