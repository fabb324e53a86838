"""Make the tables and figures of docs/results.md from what docs/results stores: ``python -m scripts.results.page``.

Nothing is scored again.

The page's own words stay: only what stands between ``<!-- begin: NAME -->`` and ``<!-- end: NAME -->`` is written, for each NAME of
`BLOCKS`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from scripts.results import figures, tables
from scripts.results.archive import Results, read_results
from src.cli.command import console
from src.cli.script import ScriptParser
from src.report.tables.table import Table, markdown
from src.utils.errors import Problems, UserError

PAGE, RESULTS = Path("docs/results.md"), Path("docs/results")
BLOCKS: dict[str, Callable[[Results], Sequence[Table]]] = {
    "scores": tables.main_tables,
    "differences": tables.difference_tables,
    "sharpness": tables.sharpness_tables,
    "rounds": tables.round_tables,
    "stages": tables.stage_tables,
    "unfolding": tables.unfolding_tables,
    "gains": tables.gain_tables,
    "starts": tables.start_tables,
    "parts": tables.part_tables,
    "tasks": tables.task_tables,
    "rates": tables.rate_tables,
    "cost": tables.cost_tables,
}
FIGURES: dict[str, tuple[str, Callable[[Results, Path], bool], str]] = {
    "differences": ("differences.png", figures.draw_differences, "RUN minus each rival, with 95 % intervals"),
    "stages": ("stages.png", figures.draw_stages, "scores of M_0 … M_K and of the closing step"),
    "unfolding": ("unfolding.png", figures.draw_unfolding, "how μ, λ, α, s, γ, gains and gradients move"),
}
NOTHING = "*Not measured yet.*"

_BLOCK = re.compile(r"(<!-- begin: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end: (?P=name) -->)", re.DOTALL)


def write_page(page: Path, results: Path) -> str:
    """Renew the blocks of ``page`` and the figures in ``results``; returns the page's new text.

    Raises:
        UserError: stored results that cannot be used, a page that is not there, or one whose blocks are not `BLOCKS`, each once.
    """
    stored = read_results(results)
    drawn = {name: _figure(stored, name, page, results) for name in FIGURES}
    blocks = {name: _block(stored, name, drawn.get(name, "")) for name in BLOCKS}
    text = renewed(_read(page), blocks, page)
    page.write_text(text, encoding="utf-8")
    return text


def page_text(page: Path, results: Path) -> str:
    """What `write_page` would write, with the figures that are there; nothing is touched."""
    stored, drawn = read_results(results), {name: results / FIGURES[name][0] for name in FIGURES}
    links = {name: _link(name, page, path) if path.exists() else "" for name, path in drawn.items()}
    return renewed(_read(page), {name: _block(stored, name, links.get(name, "")) for name in BLOCKS}, page)


def renewed(text: str, blocks: dict[str, str], page: Path) -> str:
    """``text`` with new contents between its markers; a UserError if a marker is missing, doubled or unknown."""
    found = [match["name"] for match in _BLOCK.finditer(text)]
    missing = (name for name in blocks if name not in found)
    problems = Problems(f"no block {name}: add the lines <!-- begin: {name} --> and <!-- end: {name} -->" for name in missing)
    unknown = [name for name in dict.fromkeys(found) if name not in blocks]
    problems += [f"block {name}: nothing is called so; there are {', '.join(blocks)}" for name in unknown]
    problems += [f"block {name} stands there twice" for name in blocks if found.count(name) > 1]
    problems.raise_all(f"{page} cannot be written:")
    return _BLOCK.sub(lambda match: f"{match[1]}\n{blocks[match['name']]}\n{match['end']}", text)


def main() -> None:
    """The command line of :func:`write_page`."""
    parser = ScriptParser("Tables and figures of docs/results.md.")
    parser.add_argument("--results", type=Path, default=RESULTS, help=f"folder of the stored results (default: {RESULTS})")
    parser.add_argument("--page", type=Path, default=PAGE, help=f"the page to renew (default: {PAGE})")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if the page is not what the results say")
    parser.run(_check_or_write)


def _check_or_write(arguments: argparse.Namespace) -> int:
    if arguments.check:
        is_old = page_text(arguments.page, arguments.results) != _read(arguments.page)
        console().print(f"{arguments.page} is {'not ' if is_old else ''}what {arguments.results} says", highlight=False)
        return int(is_old)
    write_page(arguments.page, arguments.results)
    console().print(f"Written: {arguments.page}", highlight=False)
    return 0


def _block(stored: Results, name: str, figure: str) -> str:
    texts = [markdown(table) for table in BLOCKS[name](stored)]
    return "\n".join([*(texts or [NOTHING + "\n"]), *([figure + "\n"] if figure and texts else [])])


def _figure(stored: Results, name: str, page: Path, results: Path) -> str:
    path = results / FIGURES[name][0]
    if FIGURES[name][1](stored, path):
        return _link(name, page, path)
    path.unlink(missing_ok=True)
    return ""


def _link(name: str, page: Path, path: Path) -> str:
    return f"![{FIGURES[name][2]}]({Path(os.path.relpath(path, page.parent)).as_posix()})"


def _read(page: Path) -> str:
    try:
        return page.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{page} cannot be read ({error.strerror})") from error


if __name__ == "__main__":
    main()
