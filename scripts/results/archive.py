"""The tables below docs/results/data, read with pandas: all numbers of the tables and figures in docs/results.

images.csv.gz  one row per image and evaluation
tasks.csv      one row per image, with the measures of other tasks (`TASKS`)
stages.csv     one row per stage mask M_0 … M_K, M̂_{K+1} (M for a network without stages), means over images
epochs.csv     one row per logged value and epoch: μ, λ, α, s, γ, gains of the mask step, gradient norms
starts.csv     one row per start and stage mask: scores when starting from another M_0 (scripts/results/other_starts.py)
gains.csv      one row per part and mask step: the gain of that part of the step (scripts/results/step_gains.py)
runs.csv       one row per training: its settings and its cost

A network has the name of its training (`run`, `run-robe`, `fpn_ds`, …). Separate columns say how it was evaluated
(`Variant`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from src.utils.errors import Problems

PROTOCOL = "field"
"""The protocol of all scores."""
SPLITS = ("test", "holdout")
MEASURED = ("mae", "s_alpha", "e_mean", "f_adp", "f_weighted", "iou")
TASKS = {"Kvasir-SEG": ("dice_mean", "iou_mean"), "DRIVE": ("sensitivity", "specificity", "accuracy", "auc")}
"""Test set → the measures that its literature reports in addition to `MEASURED`."""


class Variant(NamedTuple):
    """An evaluation variant: the settings of `src.eval` that give the same trained network another final mask.

    Attributes:
        rounds: 2: segment, enlarge the detected object and segment again.
        closing_step: `null` as trained, `true` or `false`.
        sharpness: factor of the final logits.
    """

    rounds: int = 1
    closing_step: str = "null"
    sharpness: float = 1.0

    @property
    def suffix(self) -> str:
        """Return the suffix of a network's name that tells its variants apart.

        >>> Variant(closing_step="false", sharpness=1.5).suffix, Variant(rounds=2).suffix, Variant().suffix
        ('-closing_step_x1.5', '_rounds2', '')
        """
        closing = {"null": "", "true": "+closing_step", "false": "-closing_step"}[self.closing_step]
        scaled = f"_x{self.sharpness:g}" if self.sharpness != 1 else ""
        return closing + scaled + (f"_rounds{self.rounds}" if self.rounds != 1 else "")


TRAINING = ["dataset", "size", "network", "seed"]
"""Identifies a training; `size`: side of the square input in pixels."""
SCORED = ["dataset", "split", "size", "network", "seed"]
"""Identifies a trained network on one split."""
EVALUATION = [*SCORED, *Variant._fields]
"""Identifies one evaluation."""


@dataclass(frozen=True)
class Layout:
    """The layout of one table.

    Attributes:
        file: the file's name.
        group: columns that identify the rows of one training or evaluation, which are stored and replaced together.
        item: columns that distinguish the rows of a group.
        values: columns of measured values.
    """

    file: str
    group: list[str]
    item: list[str]
    values: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """Return all columns in the order of the file; the training's commit follows its seed."""
        after = self.group.index("seed") + 1
        return [*self.group[:after], "commit", *self.group[after:], *self.item, *self.values]


LAYOUTS = {
    "images": Layout("images.csv.gz", EVALUATION, ["image"], MEASURED),
    "tasks": Layout("tasks.csv", EVALUATION, ["image"], [name for measures in TASKS.values() for name in measures]),
    "stages": Layout("stages.csv", SCORED, ["map"], [*MEASURED, "gain"]),
    "epochs": Layout("epochs.csv", TRAINING, ["epoch", "name"], ["value"]),
    "starts": Layout("starts.csv", SCORED, ["start", "map"], ["s_alpha", "mae"]),
    "gains": Layout("gains.csv", SCORED, ["part", "step"], ["gain"]),
    "runs": Layout("runs.csv", [*TRAINING, "epochs", "lr"], [], ["parameters", "gmacs", "hours", "holdout_s_alpha"]),
}


class Results(NamedTuple):
    """All tables as data frames, with the columns of `LAYOUTS`.

    `images` has the columns of `tasks` too, NaN for data sets without these measures.
    """

    images: pd.DataFrame
    stages: pd.DataFrame
    epochs: pd.DataFrame
    starts: pd.DataFrame
    gains: pd.DataFrame
    runs: pd.DataFrame


def read_results(results: Path) -> Results:
    """Read the tables below ``results``; a missing one is empty.

    Raises:
        UserError: all problems at once: unreadable files, unknown columns, invalid values, repeated rows, one training
            with two commits, images that only one of two tables has, and evaluations on one split and size that were
            not scored on the same images.
    """
    problems = Problems()
    tables = {name: read_table(results, name, problems) for name in LAYOUTS}
    problems += [*_commits(tables), *_uneven("starts", tables["starts"]), *_uneven("gains", tables["gains"])]
    images, tasks = tables["images"], tables.pop("tasks")
    as_trained = (images[list(Variant._fields)] == list(Variant())).all(axis=1)
    problems += _only_in_one("stages", tables["stages"], images[as_trained], SCORED)
    problems += _only_in_one("tasks", tasks, images[images["dataset"].isin(TASKS)], [*EVALUATION, "image"])
    problems += _other_images(images)
    problems.raise_all(f"{results / 'data'} cannot be used:")
    tables["images"] = images.merge(tasks, "left", [*EVALUATION, "commit", "image"])
    return Results(**tables)


_CHOICES = {"split": SPLITS, "closing_step": ("null", "true", "false")}
_NAMES = {"dataset", "network", "commit", "image", "map", "name", "start", "part"}
_WHOLE = {"size", "seed", "epochs", "epoch", "step", "rounds", "parameters"}
_MAY_BE_EMPTY = {"gain", "parameters", "gmacs", "hours", "holdout_s_alpha", *LAYOUTS["tasks"].values}


def read_table(results: Path, name: str, problems: list[str]) -> pd.DataFrame:
    """Read one table with typed columns; add its problems to ``problems``, and skip invalid rows."""
    layout, path = LAYOUTS[name], results / "data" / LAYOUTS[name].file
    empty = pd.DataFrame(columns=layout.columns, dtype=str)
    texts = empty
    if path.exists():
        try:
            texts = pd.read_csv(path, dtype=str, keep_default_na=False, skip_blank_lines=False)
        except (OSError, EOFError, ValueError, zlib.error) as error:
            problems.append(f"{path}: cannot be read ({str(error).strip()})")
    if list(texts) != layout.columns or not isinstance(texts.index, pd.RangeIndex):
        problems.append(
            f"{path}: has the columns {', '.join(texts)}; expected {', '.join(layout.columns)}, one value each"
        )
        texts = empty
    is_wrong = np.zeros(len(texts), dtype=bool)
    for column in layout.columns:
        wrong, expected = _wrong(column, texts[column].to_numpy(dtype=object))
        problems += [
            f"{path}, line {i + 2}: {column}={texts[column][i]}: expected {expected}" for i in np.flatnonzero(wrong)
        ]
        is_wrong |= wrong
    frame = typed(texts[~is_wrong])
    repeated = frame[frame.duplicated([*layout.group, *layout.item])]
    problems += [
        f"{path}, line {i + 2}: repeats {words(row, [*layout.group, *layout.item])}" for i, row in repeated.iterrows()
    ]
    return frame.reset_index(drop=True)


def _wrong(column: str, texts: NDArray[np.object_]) -> tuple[NDArray[np.bool_], str]:
    """Return which values of a column are invalid, and what is expected there."""
    if column in _CHOICES:
        return ~np.isin(texts, _CHOICES[column]), " or ".join(_CHOICES[column])
    if column in _NAMES:
        return texts == "", "a name"
    numbers = pd.to_numeric(texts, errors="coerce").astype(float)
    valid, expected = np.isfinite(numbers), "a number"
    if column in _WHOLE:
        valid, expected = numbers % 1 == 0, "a whole number"
    elif column in MEASURED:
        valid, expected = (numbers >= 0) & (numbers <= 1), "a number from 0 to 1"
    return ~valid & ((texts != "") | (column not in _MAY_BE_EMPTY)), expected


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns as text, whole numbers or floats; `parameters`, which may be empty, as nullable integers."""
    columns = {}
    for name, values in frame.items():
        if name in _NAMES or name in _CHOICES:
            columns[name] = values.astype(str)
        else:
            whole = "Int64" if name == "parameters" else "int64"
            columns[name] = pd.to_numeric(values).astype(whole if name in _WHOLE else "float64")
    return pd.DataFrame(columns)


def _commits(tables: Mapping[str, pd.DataFrame]) -> Iterator[str]:
    for name, frame in tables.items():
        group = LAYOUTS[name].group
        for _, rows in frame.drop_duplicates([*group, "commit"]).groupby(group):
            if len(rows) > 1:
                yield f"{LAYOUTS[name].file}: {words(rows.iloc[0], group)} has the commits {', '.join(rows['commit'])}"


def _only_in_one(name: str, frame: pd.DataFrame, images: pd.DataFrame, columns: list[str]) -> list[str]:
    """Return a problem for each row that only one of two tables has, though both should."""
    both = frame[columns].drop_duplicates().merge(images[columns].drop_duplicates(), "outer", indicator="where")
    files = {"left_only": LAYOUTS[name].file, "right_only": LAYOUTS["images"].file}
    alone = both[both["where"] != "both"]
    return [f"only {files[row['where']]} has {words(row, columns)}" for _, row in alone.iterrows()]


def _other_images(images: pd.DataFrame) -> Iterator[str]:
    """Yield evaluations whose images differ: networks are compared image by image on each split and size."""
    for _, rows in images.groupby(["dataset", "split", "size"]):
        (first, expected), *others = [(one.iloc[0], {*one["image"]}) for _, one in rows.groupby(EVALUATION, sort=False)]
        for row, names in others:
            if differing := sorted(names ^ expected):
                both = f"{words(row, EVALUATION)} and {words(first, EVALUATION)}"
                yield f"{both} have other images: {len(differing)} are in only one of them, e.g. {differing[0]}"


def _uneven(name: str, frame: pd.DataFrame) -> Iterator[str]:
    """Yield a problem for each group that does not fill a grid of starts × masks, or of parts × steps."""
    group, (outer, inner) = LAYOUTS[name].group, LAYOUTS[name].item
    for _, rows in frame.groupby(group):
        if len(rows) != rows[outer].nunique() * rows[inner].nunique():
            yield f"{LAYOUTS[name].file}: {words(rows.iloc[0], group)}: not every {outer} has the same {inner}s"


def words(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return ``column=value`` of the columns, for messages about a row."""
    return " ".join(f"{column}={row[column]}" for column in columns)
