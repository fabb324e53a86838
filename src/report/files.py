"""The CSV files of a report (and Parquet, where pyarrow is installed): full precision, one row per record."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from src.metrics.functional import THRESHOLDS
from src.report.tables.published import PublishedRow
from src.scoring.scores import DESCRIPTION, SetScores
from src.utils.errors import UserError

Rows = Iterable[Mapping[str, Any]]


def check_new_folder(path: Path) -> None:
    """Raise a UserError unless a new folder can be made there.

    Thus nothing is overwritten, and nothing is computed that cannot be stored.
    """
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise UserError(f"paths.output_dir={path} exists already; choose another folder")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(dir=above, prefix="."):
            pass
    except OSError as error:
        raise UserError(f"paths.output_dir={path}: nothing can be written to {above} ({error.strerror})") from error


def check_new_file(key: str, path: Path) -> list[str]:
    """Return why the setting ``key`` cannot name a new file; an empty list if it can."""
    if path.exists():
        return [f"{key}={path}: exists already; name another file"]
    return [] if path.parent.is_dir() else [f"{key}={path}: no folder {path.parent}"]


def write_csv(path: Path, rows: Rows) -> None:
    """Write rows as CSV; floats have all digits, so that they read back the same.

    The columns are the keys of the rows, in the order of their first appearance.
    """
    rows = list(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def check_parquet() -> None:
    """Raise a UserError if Parquet cannot be written, because pyarrow is not installed.

    pyarrow is not a dependency: it takes 40 MB, and the CSV files hold the same numbers.
    """
    if find_spec("pyarrow") is None:
        raise UserError("report.parquet=true needs pyarrow: pip install pyarrow (per_image.csv holds the same numbers)")


def write_parquet(path: Path, rows: Rows) -> None:
    """Write rows as a Parquet file."""
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def metric_rows(results: Sequence[SetScores], published: Sequence[PublishedRow], protocol: str) -> Rows:
    """Yield every measure of every method (and stage: `map`) on every data set; `numbers` is measured or published."""
    for one in results:
        names = {
            "numbers": "measured",
            "protocol": protocol,
            "dataset": one.dataset,
            "method": one.method,
            "map": one.map,
        }
        yield names | {"images": len(one.rows), "resized": one.resized} | one.scalars
    for row in published:
        for dataset in dict.fromkeys(one.dataset for one in results):
            if dataset in row.scores:
                yield {"numbers": "published", "dataset": dataset, "method": row.label} | row.scores[dataset]


def image_rows(results: Sequence[SetScores], protocol: str) -> Rows:
    """Yield every measure of every image, as `python -m src.report.compare` reads them."""
    for one in results:
        for row in one.rows:
            yield {"protocol": protocol, "method": one.method, "dataset": one.dataset} | row


def curve_rows(results: Sequence[SetScores], protocol: str) -> Rows:
    """Yield the mean curves, one row per threshold."""
    for one in results:
        names = {"protocol": protocol, "dataset": one.dataset, "method": one.method, "map": one.map}
        for i, threshold in enumerate(THRESHOLDS):
            yield (
                names | {"threshold": float(threshold)} | {name: float(curve[i]) for name, curve in one.curves.items()}
            )


def read_image_rows(path: Path) -> tuple[str, list[SetScores]]:
    """Read the protocol and the scores of a `per_image.csv`.

    Raises:
        UserError: no such file, or not one that this project wrote.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    keys = ("protocol", "method", "dataset")
    if not rows or not {*keys, *DESCRIPTION} <= rows[0].keys():
        needed = ", ".join((*keys, *DESCRIPTION))
        raise UserError(f"{path}: not a per_image.csv of src.score or src.eval (needs the columns {needed})")
    protocols = {row["protocol"] for row in rows}
    if len(protocols) > 1:
        raise UserError(f"{path}: mixes the protocols {', '.join(sorted(protocols))}")
    found: dict[tuple[str, str], SetScores] = {}
    for row in rows:
        one = found.setdefault((row["dataset"], row["method"]), SetScores(row["dataset"], row["method"]))
        try:
            one.rows.append(
                {name: value if name == "image" else float(value) for name, value in row.items() if name not in keys}
            )
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: the row of {row['image']} is not whole ({error})") from error
    _check_names(path, found.values())
    return protocols.pop(), list(found.values())


def _check_names(path: Path, scores: Iterable[SetScores]) -> None:
    """Raise a UserError if two rows of a method and data set have the same name: rows are paired by name."""
    for one in scores:
        names = [row["image"] for row in one.rows]
        twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
        if twice:
            text = f"{len(twice)} images of {one.dataset} are listed twice, e.g. {twice[0]}"
            why = "joined sets with the same names"
            raise UserError(f"{path}: {text}: {why}; run src.eval again, which now tells them apart")
