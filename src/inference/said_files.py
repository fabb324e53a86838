"""Read ``boxes=FILE`` and ``prompts=FOLDER`` of `src.predict`: the prompt for each picture."""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from src.data.readers import EXTENSIONS, read_header
from src.inference.inputs import Source
from src.inference.prompts import Said, trust_problems
from src.utils.errors import Problems, UserError

COLUMNS = ("image", "x0", "y0", "x1", "y1")
MAPS = EXTENSIONS | {".npy"}
"""Suffixes of the maps of ``prompts=``."""


def find_said(cfg: Mapping[str, Any], sources: Sequence[Source], problems: Problems) -> dict[Source, Said]:
    """Return the prompt of each picture that has one.

    Args:
        cfg: `conf/predict.yaml` as a plain mapping: ``boxes``, ``prompts``, ``trust``, ``input``.
        sources: the pictures; those that cannot be opened are left out here, and reported elsewhere.
        problems: mistakes in the files, names without a picture, and prompts that do not fit theirs are appended.
    """
    pictures = _by_name(sources)
    boxes, maps = dict[Source, Sequence[float]](), dict[Source, Path]()
    if cfg["boxes"] is not None:
        with problems.catch():
            boxes = _paired(f"boxes: {cfg['boxes']}", _boxes(Path(cfg["boxes"])), pictures, cfg["input"], problems)
    if cfg["prompts"] is not None:
        with problems.catch():
            found = _maps(Path(cfg["prompts"]), problems)
            maps = _paired(f"prompts: {cfg['prompts']}", found, pictures, cfg["input"], problems)
    if wrong := trust_problems(cfg["trust"]):
        problems += wrong
        return {}
    said = {
        source: Said(boxes.get(source), mask=maps.get(source), trust=cfg["trust"])
        for source in sources
        if source in boxes or source in maps
    }
    for source, one in said.items():
        if (size := _size(source)) is not None:
            problems += [f"{source.path}: {problem}" for problem in one.problems(*size)]
    return said


def map_files(folder: Path) -> list[Path]:
    """Return the maps in the folder of ``prompts=``, sorted; those in subfolders belong to pictures in subfolders."""
    found = folder.rglob("*") if folder.is_dir() else ()
    return sorted(path for path in found if path.suffix.lower() in MAPS and not path.name.startswith("."))


def _by_name(sources: Sequence[Source]) -> dict[str, Source]:
    """Return the pictures by their names, with the suffix and without."""
    pictures = [(source, source.path) for source in sources if source.path is not None and not source.is_video]
    return {source.name: source for source, _ in pictures} | {
        source.name + path.suffix: source for source, path in pictures
    }


def _paired(
    where: str, found: Mapping[str, Any], pictures: Mapping[str, Source], text: str, problems: list[str]
) -> dict[Source, Any]:
    """Return by picture what was found by name; names without a picture are problems."""
    paired = dict[Source, Any]()
    for name, value in found.items():
        source = pictures.get(unicodedata.normalize("NFC", name))
        if source is None:
            problems.append(f"{where} names {name}, and input={text} has no such picture")
        elif source in paired:
            problems.append(f"{where} says two things about {source.path}")
        else:
            paired[source] = value
    return paired


def _maps(folder: Path, problems: list[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise UserError(f"prompts: there is no folder {folder}")
    files = map_files(folder)
    if not files:
        raise UserError(f"prompts: {folder} holds no map (one per picture, under its name, such as NAME.png)")
    named = dict[str, Path]()
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        if (other := named.setdefault(name, file)) != file:
            problems.append(f"prompts: {folder} holds two maps of {name}, {other.name} and {file.name}")
    return named


def _boxes(path: Path) -> dict[str, Sequence[float]]:
    """Return name → box of a table or of a JSON file."""
    if not path.is_file():
        raise UserError(f"boxes: there is no file {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() != ".json":
            return _of_table(path, text)
        boxes = json.loads(text, object_pairs_hook=_each_once)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise UserError(f"boxes: {path} cannot be read ({error})") from error
    if not isinstance(boxes, dict):
        raise UserError(f'boxes: {path}: expected an object, {{"photo.jpg": [x0, y0, x1, y1], …}}')
    return boxes


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"boxes: {', '.join(twice)}: more than one box; one per picture can be given")
    return dict(pairs)


def _of_table(path: Path, text: str) -> dict[str, Sequence[float]]:
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise UserError(f"boxes: {path}: no column {', '.join(missing)}; its first line must be {','.join(COLUMNS)}")
    problems, boxes = Problems(), dict[str, Sequence[float]]()
    for row in rows:
        with problems.catch():
            if not row["image"]:
                raise UserError(f"line {rows.line_num}: names no image")
            if row["image"] in boxes:
                raise UserError(f"line {rows.line_num}: {row['image']} has a box already")
            boxes[row["image"]] = list(_numbers(row, rows.line_num))
    problems.raise_all(f"boxes: {path}:")
    return boxes


def _numbers(row: Mapping[str, str | None], line: int) -> Iterator[float]:
    for name in COLUMNS[1:]:
        try:
            yield float(row[name] or "")
        except ValueError:
            raise UserError(f"line {line}: {name}={row[name]}: expected a number") from None


def _size(source: Source) -> tuple[int, int] | None:
    """Return (height, width) of a picture as it is shown; None if it cannot be opened."""
    try:
        assert source.path is not None
        width, height = read_header(source.path).upright_size
    except UserError:
        return None
    return height, width
