"""Pair maps with masks by name, and find everything that is wrong with the files before anything is scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.data.maps import check_map
from src.data.names import guess_pattern, stem_pattern
from src.data.published_sets import ANY
from src.data.readers import COMMON, EXTENSIONS, read_whole_header
from src.data.sources import count_suffixes, list_files, list_images, unread_files
from src.scoring.pool import WorkerPool
from src.scoring.spec import Place, Spec
from src.utils.errors import UserError

ARRAY = ".npy"
TYPES = ("cutout", "overlay", "on", "json", "stages")
"""Folders beside the maps of `src.predict` that hold no maps."""


@dataclass(frozen=True)
class MapFiles:
    """The files of one map to score."""

    image: str
    pred: Path
    gt: Path
    fov: Path | None = None
    source: Path | None = None
    """The image that map and mask belong to."""


def pair_files(spec: Spec, problems: list[str]) -> dict[tuple[str, str], list[MapFiles]]:
    """Return (data set, method) → its maps in the order of their names.

    Args:
        spec: what is to be scored.
        problems: lines about unpaired and duplicate files are appended.
    """
    problems += [
        f"data set {name!r}: its name goes into file names; leave / and \\ out"
        for name in spec.sets
        if "/" in name or "\\" in name
    ]
    masks = {name: _files(folders.gts, problems) for name, folders in spec.sets.items()}
    fovs = {name: _beside(folders.fovs, "field of view", masks[name], problems) for name, folders in spec.sets.items()}
    images = {name: _beside(folders.images, "image", masks[name], problems) for name, folders in spec.sets.items()}
    pairs: dict[tuple[str, str], list[MapFiles]] = {}
    for dataset, gts in masks.items():
        for method, folders in spec.methods.items():
            if dataset not in folders:
                continue
            maps = _files(folders[dataset], problems, without_types=True)
            if maps and gts:
                problems += _unpaired(spec.sets[dataset].gts, gts, folders[dataset], maps)
            pairs[dataset, method] = [
                MapFiles(stem, maps[stem], gts[stem], fovs[dataset].get(stem), images[dataset].get(stem))
                for stem in gts
                if stem in maps
            ]
    return pairs


def _unpaired(gts_place: Place, gts: Mapping[str, Path], maps_place: Place, maps: Mapping[str, Path]) -> list[str]:
    paired = len(gts.keys() & maps.keys())
    if paired <= len(maps) / 2:
        for key, names, others in (("preds", gts, maps), ("gts", maps, gts)):
            pattern = guess_pattern(names, others)
            if pattern is not None:
                where = maps_place if key == "preds" else gts_place
                named = f"{paired} of {len(gts)} masks have a map of the same name"
                return [f"{where}: {named}; {key} are called {pattern}: add {key}_pattern={pattern}"]
    missing = [f"{maps_place}: no map for {gts[stem].name}" for stem in gts if stem not in maps]
    return missing + [
        f"{maps[stem]}: no mask for this map in {gts_place}; remove it" for stem in maps if stem not in gts
    ]


def check_files(files: MapFiles) -> list[str]:
    """Return the problems of one map's files; only files that could hide one are decoded (see `check_map`)."""
    problems = []
    for path in (files.pred, files.gt, files.fov, files.source):
        if path is None:
            continue
        try:
            if path == files.pred:
                check_map(path)
            else:
                read_whole_header(path)
        except UserError as error:
            problems.append(str(error))
    return problems


def find_problems(jobs: Mapping[Any, list[MapFiles]], pool: WorkerPool) -> list[str]:
    """Return what `check_files` finds in all maps; a mask that several methods share is named once."""
    found = pool.map(check_files, ((files,) for group in jobs.values() for files in group))
    return list(dict.fromkeys(problem for problems in found for problem in problems))


def _files(place: Place, problems: list[str], without_types: bool = False) -> dict[str, Path]:
    """Return the files of a place and of its subfolders by name, `seq1/0001`; append what is wrong to `problems`."""
    folder = place.folder
    if not folder.is_dir():
        problems.append(f"{folder}: no such folder")
        return {}
    pattern, suffix = (ANY, "") if place.pattern is None else stem_pattern(place.pattern, place.pattern)
    found = list_images(folder, pattern, nested=True, suffixes=(suffix,) if suffix else (*EXTENSIONS, ARRAY))
    if without_types:
        found = {name: paths for name, paths in found.items() if name.partition("/")[0] not in TYPES or "/" not in name}
    if not found:
        called = f" called {place.pattern}" if place.pattern else ""
        problems.append(f"{folder}: holds no file to read{called} (looked for {COMMON}, {ARRAY}){_others(folder)}")
    for paths in found.values():
        if len(paths) > 1:
            others = ", ".join(path.name for path in paths[1:])
            problems.append(f"{paths[0]}: the same stem also in {others}; pairs go by stem, keep one")
    return {stem: paths[0] for stem, paths in sorted(found.items())}


def _others(folder: Path) -> str:
    others = [path for path in unread_files(folder, nested=True) if path.suffix.lower() != ARRAY] or list_files(
        folder, nested=True
    )
    return f"; there are {count_suffixes(others)}" if others else ""


def _beside(place: Place | None, kind: str, masks: Mapping[str, Path], problems: list[str]) -> dict[str, Path]:
    """Return the files that belong to the masks, one for each; nothing without a folder."""
    if place is None:
        return {}
    found = _files(place, problems)
    problems += [f"{place}: no {kind} for {mask.name}" for stem, mask in masks.items() if found and stem not in found]
    return found
