"""The results that docs/results keeps: files of one row an image, a map M_k or a run, and what is wrong with them.

docs/results/NAME.csv          one row an image
docs/results/stages/NAME.csv   one row a map M_0 … M_K, M̂_{K+1} (M for a network without stages)
docs/results/tasks/NAME.csv    one row an image, with what other tasks print (`TASKS`)
docs/results/epochs/NAME.csv   one row a logged value an epoch: μ, λ, α, s, γ, gains of the mask step, gradient norms
docs/results/starts/NAME.csv   one row a start and a map: what the stages make of another M_0 (scripts/results/other_starts.py)
docs/results/gains/NAME.csv    one row a part and a mask step: what the step gains by it (scripts/results/step_gains.py)
docs/results/runs/NAME.csv     one row: what the training was, and what it cost
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from src.utils.errors import UserError

SPLITS = ("test", "holdout")
MEASURED = ("mae", "s_alpha", "e_mean", "f_adp", "f_weighted", "iou")
TASKS = {"Kvasir-SEG": ("dice_mean", "iou_mean"), "DRIVE": ("sensitivity", "specificity", "accuracy", "auc")}
"""By test set: what its literature prints beside `MEASURED`."""
IDENTITY = ("dataset", "split", "size", "model", "seed", "commit")
IMAGE_COLUMNS = (*IDENTITY, "image", *MEASURED)
TASK_COLUMNS = (*IDENTITY, "image", *(name for measures in TASKS.values() for name in measures))
STAGE_COLUMNS = (*IDENTITY, "map", *MEASURED, "gain")
RUN_COLUMNS = ("dataset", "size", "model", "seed", "commit", "epochs", "lr", "parameters", "gmacs", "hours", "holdout_s_alpha")
EPOCH_COLUMNS = ("dataset", "size", "model", "seed", "commit", "epoch", "name", "value")
START_COLUMNS = (*IDENTITY, "start", "map", "s_alpha", "mae")
GAIN_COLUMNS = (*IDENTITY, "part", "step", "gain")
COLUMNS = {
    "": IMAGE_COLUMNS,
    "stages": STAGE_COLUMNS,
    "tasks": TASK_COLUMNS,
    "epochs": EPOCH_COLUMNS,
    "starts": START_COLUMNS,
    "gains": GAIN_COLUMNS,
    "runs": RUN_COLUMNS,
}
"""By folder below docs/results."""


TWO_ROUNDS = "_rounds2"
"""Ends the name of a network whose images were looked at twice (`rounds=2`)."""
UNCLOSED = "-closing_step"
"""Ends the name of a RUN that was read without its closing step (`closing_step=false`)."""
SHARPER = re.compile(r"_x([\d.]+)$")
"""Ends the name of a network whose final logits were multiplied (`sharpness`)."""
READING = re.compile(rf"({UNCLOSED})?(_x[\d.]+)?({TWO_ROUNDS})?")
"""What may be added to a name: how the same training was read."""


class Key(NamedTuple):
    """What tells stored runs apart. `size`: side of the square input in pixels."""

    dataset: str
    split: str
    size: int
    model: str
    seed: int


@dataclass(frozen=True)
class Stored:
    """One trained network on one split: values by image, and the mean values by map with the mask step's gain."""

    key: Key
    commit: str
    images: dict[str, dict[str, float]]
    stages: dict[str, dict[str, float]]

    def values(self, measure: str) -> NDArray[np.float64]:
        """One value an image, in the order of the images' names."""
        return np.array([self.images[image][measure] for image in sorted(self.images)])

    def mean(self, measure: str) -> float:
        return float(self.values(measure).mean())


@dataclass(frozen=True)
class Training:
    """A row of `runs`: `lr` as it was set, `parameters` and `gmacs` of one image, `hours` of all epochs (wall clock), best hold-out S_α."""

    dataset: str
    size: int
    model: str
    seed: int
    commit: str
    epochs: int
    lr: float
    parameters: float
    gmacs: float
    hours: float
    holdout_s_alpha: float


@dataclass(frozen=True)
class History:
    """What one training logged: name (``unfolding/mu_0``, ``val/gain_1``, ``gradient/encoder``, …) → epoch, from 1, → value."""

    dataset: str
    size: int
    model: str
    seed: int
    values: dict[str, dict[int, float]]


Starts = dict[str, dict[str, dict[str, float]]]
"""Start → map M_0 … → `s_alpha` and `mae`, means over images."""
Gains = dict[str, dict[int, float]]
"""Part of the mask step → step, from 1 → mean |M_{k−1} − G| − mean |M̂_k − G| of a step of this part alone."""


class Results(NamedTuple):
    """All that is stored, in the order of the files' names."""

    runs: list[Stored]
    trainings: list[Training]
    histories: list[History]
    starts: dict[Key, Starts]
    gains: dict[Key, Gains]


def read_results(folder: Path) -> Results:
    """Everything in ``folder``.

    Raises:
        UserError: all at once: unreadable files, other columns, values that are none, an image, map or run that is there twice, two
            commits of one run, and runs on one split and size that were not scored on the same images.
    """
    problems: list[str] = []
    runs = {key: Stored(key, commit, images, {}) for key, commit, images in _keyed(folder, "", "image", problems)}
    for kind, item in (("stages", "map"), ("tasks", "image")):
        for key, _, items in _keyed(folder, kind, item, problems):
            if key not in runs:
                problems.append(f"{folder / kind}: {_words(key)} has no images in {folder}")
            elif kind == "stages":
                runs[key].stages.update(items)
            else:
                problems += _add_measures(runs[key], items, folder / kind)
    problems += _other_images(list(runs.values()))
    looked_into = _starts(folder, problems), _gains(folder, problems)
    results = Results(list(runs.values()), _trainings(folder, problems), _histories(folder, problems), *looked_into)
    if problems:
        raise UserError(f"{folder} cannot be used:", problems)
    return results


def read_rows(path: Path, columns: Sequence[str], problems: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of one file with numbers as numbers; what is wrong goes to ``problems``, and the row is left out."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            rows, header = list(reader), list(reader.fieldnames or [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        problems.append(f"{path}: cannot be read ({error})")
        return
    if header != list(columns):
        problems.append(f"{path}: has the columns {', '.join(header) or '(none)'}; expected {', '.join(columns)}")
        return
    for line, row in enumerate(rows, start=2):
        wrong = list(_wrong_values(row))
        problems += [f"{path}, line {line}: {words}" for words in wrong]
        if not wrong:
            yield {name: _value(name, text) for name, text in row.items()}


def training_of(model: str) -> str:
    """The name of the training behind a name: what a network was read with (`src.eval`) is no training of its own.

    >>> training_of("run-closing_step_x1.5"), training_of("fpn_ds_rounds2"), training_of("run-robe")
    ('run', 'fpn_ds', 'run-robe')
    """
    return SHARPER.sub("", model.removesuffix(TWO_ROUNDS)).removesuffix(UNCLOSED)


def file_name(key: Key) -> str:
    """`CAMO_test_224_run_seed0.csv`"""
    return f"{key.dataset}_{key.split}_{key.size}_{key.model}_seed{key.seed}.csv"


_TEXTS = {"dataset", "split", "model", "commit", "image", "map", "name", "start", "part"}
_WHOLE = {"size", "seed", "epochs", "epoch", "step"}
_MAY_BE_EMPTY = {"gain", "parameters", "gmacs", "hours", "holdout_s_alpha", *TASK_COLUMNS[len(IDENTITY) + 1 :]}


def _wrong_values(row: Mapping[str, str | None]) -> Iterator[str]:
    if None in row or None in row.values():
        yield "has more or fewer values than there are columns"
        return
    for name, text in row.items():
        assert text is not None
        if name in _TEXTS:
            if not text or (name == "split" and text not in SPLITS):
                yield f"{name}={text}: expected {' or '.join(SPLITS) if name == 'split' else 'a name'}"
            continue
        try:
            value = _value(name, text)
        except ValueError:
            yield f"{name}={text}: is no {'whole ' if name in _WHOLE else ''}number"
            continue
        if math.isnan(value) and not (name in _MAY_BE_EMPTY and not text):
            yield f"{name}={text}: is no number"
        elif name in MEASURED and not 0 <= value <= 1:
            yield f"{name}={text}: lies outside 0 … 1"


def _value(name: str, text: str) -> Any:
    if name in _TEXTS:
        return text
    if name in _WHOLE:
        return int(text)
    return math.nan if not text and name in _MAY_BE_EMPTY else float(text)


def _keyed(folder: Path, kind: str, item: str, problems: list[str]) -> Iterator[tuple[Key, str, dict[str, dict[str, float]]]]:
    """Key, commit, and item (image or map) → its numbers."""
    found: dict[Key, dict[str, dict[str, float]]] = {}
    commits: dict[Key, str] = {}
    for path in sorted((folder / kind).glob("*.csv")):
        for row in read_rows(path, COLUMNS[kind], problems):
            key = Key(*(row[name] for name in Key._fields))
            if commits.setdefault(key, row["commit"]) != row["commit"]:
                problems.append(f"{path}: {_words(key)} is there with the commits {commits[key]} and {row['commit']}")
            elif row[item] in found.setdefault(key, {}):
                problems.append(f"{path}: {item} {row[item]} of {_words(key)} is there twice")
            else:
                found[key][row[item]] = {name: row[name] for name in COLUMNS[kind] if name not in (*IDENTITY, item)}
    yield from ((key, commits[key], items) for key, items in found.items())


def _add_measures(run: Stored, items: Mapping[str, Mapping[str, float]], folder: Path) -> Iterator[str]:
    """Put what ``tasks`` holds beside the other measures of each image."""
    if items.keys() != run.images.keys():
        yield f"{folder}: {_words(run.key)} has other images there"
        return
    for image, measures in items.items():
        run.images[image].update({name: value for name, value in measures.items() if not math.isnan(value)})


def _trainings(folder: Path, problems: list[str]) -> list[Training]:
    found: dict[tuple[Any, ...], Training] = {}
    for path in sorted((folder / "runs").glob("*.csv")):
        for row in read_rows(path, RUN_COLUMNS, problems):
            one = Training(**row)
            key = (one.dataset, one.size, one.model, one.seed, one.epochs, one.lr)
            if key in found:
                problems.append(f"{path}: {one.model} of {one.epochs} epochs at {one.size} px, seed {one.seed}, lr {one.lr} is there twice")
            found[key] = one
    return list(found.values())


def _histories(folder: Path, problems: list[str]) -> list[History]:
    found: dict[tuple[str, int, str, int], History] = {}
    for path in sorted((folder / "epochs").glob("*.csv")):
        for row in read_rows(path, EPOCH_COLUMNS, problems):
            key = (row["dataset"], row["size"], row["model"], row["seed"])
            values = found.setdefault(key, History(*key, {})).values.setdefault(row["name"], {})
            if row["epoch"] in values:
                problems.append(f"{path}: {row['name']} of epoch {row['epoch']} is there twice")
            values[row["epoch"]] = row["value"]
    return list(found.values())


def _starts(folder: Path, problems: list[str]) -> dict[Key, Starts]:
    found: dict[Key, Starts] = {}
    for path in sorted((folder / "starts").glob("*.csv")):
        for row in read_rows(path, START_COLUMNS, problems):
            maps = found.setdefault(Key(*(row[name] for name in Key._fields)), {}).setdefault(row["start"], {})
            if row["map"] in maps:
                problems.append(f"{path}: {row['map']} from {row['start']} is there twice")
            maps[row["map"]] = {name: row[name] for name in ("s_alpha", "mae")}
    return found


def _gains(folder: Path, problems: list[str]) -> dict[Key, Gains]:
    found: dict[Key, Gains] = {}
    for path in sorted((folder / "gains").glob("*.csv")):
        for row in read_rows(path, GAIN_COLUMNS, problems):
            steps = found.setdefault(Key(*(row[name] for name in Key._fields)), {}).setdefault(row["part"], {})
            if row["step"] in steps:
                problems.append(f"{path}: step {row['step']} of {row['part']} is there twice")
            steps[row["step"]] = row["gain"]
    for key, parts in found.items():
        if len({tuple(sorted(steps)) for steps in parts.values()}) > 1:
            problems.append(f"{folder / 'gains'}: {_words(key)}: not every part has the same steps")
    return found


def _other_images(runs: Sequence[Stored]) -> Iterator[str]:
    """Networks are compared image by image, so all of a split and size must have the same ones."""
    first: dict[tuple[str, str, int], Stored] = {}
    for one in runs:
        other = first.setdefault(one.key[:3], one)
        differing = sorted(one.images.keys() ^ other.images.keys())
        if differing:
            yield f"{_words(one.key)} and {_words(other.key)} have other images: {len(differing)} are in one alone, e.g. {differing[0]}"


def _words(key: Key) -> str:
    return f"{key.dataset} {key.split}, {key.model} at {key.size} px, seed {key.seed}"
