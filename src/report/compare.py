"""Compare runs by their stored scores; nothing is scored again.

``python -m src.report.compare A/per_image.csv B/per_image.csv``
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from src.cli.script import ScriptParser
from src.report.files import check_new_file, read_image_rows, write_csv
from src.report.statistics import Comparison, compare_methods, statistics_table
from src.report.tables.columns import choose_columns, has_rows
from src.report.tables.table import markdown
from src.scoring.scores import SetScores
from src.utils.errors import Problems, UserError


def compare(
    paths: Sequence[Path], columns: Sequence[str] | None = None, reference: str | None = None
) -> tuple[str, dict[str, list[Comparison]]]:
    """Compare the methods in the files on every data set that at least two of them share.

    Methods with the same name are distinguished by their files' folders.

    Args:
        paths: ``per_image.csv`` files.
        columns: measures, or the name of a list; None: those of the data set's task.
        reference: the method that the others are compared with; None: all pairs.

    Returns:
        The protocol, and data set → comparisons.

    Raises:
        UserError: unreadable files (all at once), different protocols, nothing to compare.
    """
    problems, found = Problems(), list[tuple[Path, str, list[SetScores]]]()
    for path in paths:
        with problems.catch():
            found.append((path, *read_image_rows(path)))
    problems.raise_all()
    protocols = {str(path): protocol for path, protocol, _ in found}
    if len(set(protocols.values())) > 1:
        raise UserError(
            "these files were made with different protocols:", [f"{path}: {name}" for path, name in protocols.items()]
        )
    methods = [(path, method) for path, _, group in found for method in {one.method for one in group}]
    names = [method for _, method in methods]
    by_set: dict[str, list[SetScores]] = {}
    for path, _, group in found:
        for one in group:
            twice = names.count(one.method) > 1
            by_set.setdefault(one.dataset, []).append(
                replace(one, method=f"{one.method} [{path.parent}]" if twice else one.method)
            )
    shared = {dataset: group for dataset, group in by_set.items() if len(group) > 1}
    if not shared:
        raise UserError("nothing to compare: no data set has two methods in these files")
    compared = {dataset: _compare(group, columns, reference) for dataset, group in shared.items()}
    for dataset, group in shared.items():
        _warn_of_missing(dataset, group)
    if not all(compared.values()):
        raise UserError(
            "nothing to compare: these columns are maxima of mean curves, not means over images; "
            "choose others with --columns"
        )
    return found[0][1], compared


def main() -> None:
    """Run the command line of :func:`compare`."""
    parser = ScriptParser("Paired bootstrap and Wilcoxon tests between runs.")
    parser.add_argument("files", nargs="+", type=Path, help="per_image.csv files of src.score, src.eval or src.train")
    parser.add_argument(
        "--columns", nargs="+", help="measures, or one of the lists cod, polyp, vessel (default: the data set's task)"
    )
    parser.add_argument("--reference", help="the method that the others are compared with (default: all pairs)")
    parser.add_argument("--csv", type=Path, help="write the comparisons there, in full precision")
    parser.run(_compare_files)


def _compare_files(arguments: argparse.Namespace) -> None:
    if arguments.csv is not None:
        Problems(check_new_file("--csv", arguments.csv)).raise_all()
    protocol, found = compare(arguments.files, arguments.columns, arguments.reference)
    print("\n".join(markdown(statistics_table(group, protocol)) for group in found.values()))
    if arguments.csv is not None:
        try:
            write_csv(arguments.csv, ({"protocol": protocol} | vars(one) for group in found.values() for one in group))
        except OSError as error:
            raise UserError(f"--csv {arguments.csv}: cannot be written ({error.strerror})") from error


def _warn_of_missing(dataset: str, group: Sequence[SetScores]) -> None:
    """Say which images are not compared, as not every method has them."""
    names = [{row["image"] for row in one.rows} for one in group]
    shared, every = set.intersection(*names), set.union(*names)
    if shared != every:
        counts = ", ".join(f"{len(own)} of {one.method}" for own, one in zip(names, group, strict=True))
        warnings.warn(
            f"{dataset}: images differ ({counts}; {len(shared)} in all); each pair is compared on those that both have",
            stacklevel=2,
        )


def _compare(group: list[SetScores], columns: Sequence[str] | None, reference: str | None) -> list[Comparison]:
    available = [name for name in group[0].measures if has_rows(name) and all(name in one.measures for one in group)]
    wanted = columns[0] if columns is not None and len(columns) == 1 else columns
    chosen = choose_columns(
        wanted, [*available, *(name for name in group[0].measures if not has_rows(name))], [group[0].dataset]
    )
    return compare_methods(group, chosen, reference)


if __name__ == "__main__":
    main()
