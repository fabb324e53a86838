"""Maps of any method in folders: pairing them with masks, and everything wrong with them, found before anything is scored."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.progress import track
from yaml import YAMLError

from src.cli.command import console
from src.data.maps import check_map, read_stored_map
from src.data.masks import MaskFacts
from src.data.readers import read_image, read_judged, read_mask, read_whole_header
from src.data.sources import list_images
from src.metrics import MEASURES
from src.scoring.plausible import MapFacts, map_facts, map_warnings, mask_notes, mask_problems
from src.scoring.pool import WorkerPool
from src.scoring.scorer import score_maps
from src.scoring.scores import ImageScores, SetScores
from src.utils.errors import Problems, UserError

MASK_FOLDERS = ("gt", "gts", "mask", "masks")
FORMATS = ".png .jpg .bmp .tif .gif .webp .ppm .npy"


@dataclass(frozen=True)
class ScoredSet:
    """A data set: its masks and, if there are any, its images (for the gallery and `context_weighted`) and its fields of view."""

    gts: Path
    images: Path | None = None
    fovs: Path | None = None


@dataclass(frozen=True)
class Spec:
    """What is to be scored: data sets by name, and by method and data set the folder of its maps."""

    sets: dict[str, ScoredSet]
    methods: dict[str, dict[str, Path]]


@dataclass(frozen=True)
class ScoreSettings:
    """`protocol`: `field`, `raw` or `released`; `extra`: names of slow measures; `ignore_value`: of pixels in masks that are not judged."""

    protocol: str
    extra: tuple[str, ...] = ()
    ignore_value: int | None = None


@dataclass(frozen=True)
class MapFiles:
    """The files of one map to score."""

    image: str
    pred: Path
    gt: Path
    fov: Path | None = None
    source: Path | None = None
    """The image that was looked at."""


def folder_spec(preds: str, gts: str, images: str | None, fovs: str | None, method: str | None, dataset: str | None) -> Spec:
    """The spec of one folder of maps; names that are not given are the folders' (`.../CAMO/GT` is CAMO, `.../SINet/CAMO` SINet)."""
    gt_dir, pred_dir = Path(gts), Path(preds)
    dataset = dataset or _folder_name(gt_dir, MASK_FOLDERS)
    method = method or _folder_name(pred_dir, (dataset.lower(),))
    folders = ScoredSet(gt_dir, Path(images) if images else None, Path(fovs) if fovs else None)
    return Spec({dataset: folders}, {method: {dataset: pred_dir}})


def read_spec(path: Path) -> Spec:
    """A YAML file of several methods and sets; its paths are relative to its own folder.

    ::

        sets:
          CAMO: data/TestDataset/CAMO/GT                       # the masks, or
          DRIVE: {gts: FOLDER, images: FOLDER, fovs: FOLDER}   # images for the gallery, fields of view for the measures
        methods:
          SINet: maps/SINet/{set}                              # {set} stands for the data set's name
          FEDER: {CAMO: elsewhere/feder_camo}                  # a method need not have every set

    Raises:
        UserError: not readable, or not of this form; all problems at once.
    """
    try:
        loaded = OmegaConf.to_container(OmegaConf.load(path))
    except (OSError, YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"spec: {path} cannot be read ({error})") from error
    if not isinstance(loaded, dict) or loaded.keys() != {"sets", "methods"} or not all(isinstance(v, dict) and v for v in loaded.values()):
        raise UserError(f"spec: {path} must hold two mappings, `sets` (NAME: FOLDER of masks) and `methods` (NAME: FOLDER with {{set}})")
    base, problems = path.parent, Problems()
    sets = {str(name): _scored_set(base, str(name), entry, problems) for name, entry in loaded["sets"].items()}
    methods = {str(name): _method_folders(base, str(name), entry, list(sets), problems) for name, entry in loaded["methods"].items()}
    problems.raise_all(f"spec: {path} has problems:")
    return Spec(sets, methods)


def pair_files(spec: Spec, problems: list[str]) -> dict[tuple[str, str], list[MapFiles]]:
    """(data set, method) → its maps in the order of their names; unpaired and doubled files are added to `problems`."""
    problems += [
        f"data set {name!r}: its name goes into file names; leave / and \\ out" for name in spec.sets if "/" in name or "\\" in name
    ]
    masks = {name: _stems(folders.gts, problems) for name, folders in spec.sets.items()}
    fovs = {name: _beside(folders.fovs, "field of view", masks[name], problems) for name, folders in spec.sets.items()}
    images = {name: _beside(folders.images, "image", masks[name], problems) for name, folders in spec.sets.items()}
    pairs: dict[tuple[str, str], list[MapFiles]] = {}
    for dataset, gts in masks.items():
        for method, folders in spec.methods.items():
            if dataset not in folders:
                continue
            maps = _stems(folders[dataset], problems)
            if maps and gts:
                problems += [f"{folders[dataset]}: no map for {gts[stem].name}" for stem in gts if stem not in maps]
                problems += [
                    f"{maps[stem]}: no mask for this map in {spec.sets[dataset].gts}; remove it" for stem in maps if stem not in gts
                ]
            pairs[dataset, method] = [
                MapFiles(stem, maps[stem], gts[stem], fovs[dataset].get(stem), images[dataset].get(stem)) for stem in gts if stem in maps
            ]
    return pairs


def check_files(files: MapFiles) -> list[str]:
    """Problems of one map's files, found without decoding what cannot hide any (see `check_map`)."""
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


@dataclass(frozen=True)
class ScoredFiles:
    """The scores of one map, and what tells whether map and mask are what they are taken for."""

    scores: ImageScores
    map: MapFacts
    mask: MaskFacts


def score_files(files: MapFiles, settings: ScoreSettings) -> ScoredFiles | str:
    """Score one map against its mask, brought to the mask's size (`resize_map`) if it has another; the problem if it cannot be used."""
    try:
        stored, ((target, known), facts) = read_stored_map(files.pred), read_judged(files.gt, settings.ignore_value)
        if wrong := mask_problems(files.gt, facts):
            return wrong[0]
        valid = known if files.fov is None else read_mask(files.fov)
        if valid is not None and valid.shape != target.shape:
            return f"{files.fov}: {_size(valid)}, its mask {_size(target)} (height×width); a field of view must have the mask's size"
        if files.fov is not None and known is not None:
            valid = valid & known
        resized = stored.values.shape != target.shape
        pred = resize_map(stored.values, target.shape) if resized else stored.values
        looks = any(MEASURES[name].needs_image for name in settings.extra)
        picture = read_image(files.source) if looks and files.source is not None else None
        scored = score_maps(files.image, {"": pred}, target, valid, settings.protocol, settings.extra, picture=picture)[""]
    except UserError as error:
        return str(error)
    return ScoredFiles(replace(scored, resized=resized), map_facts(stored, target), facts)


def score_all_files(
    jobs: Mapping[tuple[str, str], list[MapFiles]], settings: ScoreSettings, pool: WorkerPool, problems: list[str]
) -> tuple[dict[str, list[SetScores]], list[str]]:
    """Score every map under a progress bar.

    Args:
        jobs: (data set, method) → its maps, as `pair_files` returns them.
        settings: how they are scored.
        pool: the threads that score.
        problems: files that turn out to be broken, and masks that cannot be meant, are added.

    Returns:
        Data set → the scores of its methods; and what is to be said about masks and maps, one line each.
    """
    pairs = [(key, files) for key, group in jobs.items() for files in group]
    scored = pool.map(score_files, ((files, settings) for _, files in pairs))
    found: dict[tuple[str, str], SetScores] = {}
    seen: dict[tuple[str, str], list[tuple[Path, ScoredFiles]]] = {}
    bar = track(scored, "Scoring", total=len(pairs), console=console(), transient=True)
    for (key, files), one in zip(pairs, bar, strict=True):
        if isinstance(one, str):
            problems.append(one)
        else:
            found.setdefault(key, SetScores(*key)).add(one.scores)
            seen.setdefault(key, []).append((files.gt, one))
    results: dict[str, list[SetScores]] = {}
    for (dataset, _), scores in found.items():
        results.setdefault(dataset, []).append(scores)
    return results, _notes(seen, settings.protocol, problems)


def _notes(seen: Mapping[tuple[str, str], list[tuple[Path, ScoredFiles]]], protocol: str, problems: list[str]) -> list[str]:
    """How the masks of each set are read, and what looks wrong, which is warned of as well."""
    notes, suspicious = dict[str, str](), list[str]()
    for (dataset, method), group in seen.items():
        if dataset not in notes:  # all methods share the masks
            notes[dataset], found = mask_notes(dataset, group[0][0].parent, [(path, one.mask) for path, one in group], problems)
            suspicious += found
        suspicious += map_warnings(method, dataset, [one.map for _, one in group], protocol)
    for line in suspicious:
        warnings.warn(line, stacklevel=2)
    return [f"{line}." for line in (*notes.values(), *suspicious)]


def resize_map(pred: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A map (h, w) in [0, 1] at the size (H, W), bilinear without antialiasing, as the field's toolboxes do (`cv2.resize`)."""
    return np.clip(cv2.resize(pred, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), 0.0, 1.0)


def find_problems(jobs: Mapping[Any, list[MapFiles]], pool: WorkerPool) -> list[str]:
    """What `check_files` says of all maps; a mask that several methods share is named once."""
    found = pool.map(check_files, ((files,) for group in jobs.values() for files in group))
    return list(dict.fromkeys(problem for problems in found for problem in problems))


def _stems(folder: Path | None, problems: list[str]) -> dict[str, Path]:
    if folder is None or not folder.is_dir():
        problems.append(f"{folder}: no such folder")
        return {}
    found = list_images(folder)
    for path in sorted(folder.glob("[!.]*.npy")):
        found.setdefault(path.stem, []).append(path)
    if not found:
        problems.append(f"{folder}: holds no file to read (looked for {FORMATS}; not in subfolders)")
    for paths in found.values():
        if len(paths) > 1:
            problems.append(f"{paths[0]}: the same stem also in {', '.join(path.name for path in paths[1:])}; pairs go by stem, keep one")
    return {stem: paths[0] for stem, paths in sorted(found.items())}


def _beside(folder: Path | None, kind: str, masks: Mapping[str, Path], problems: list[str]) -> dict[str, Path]:
    """Return the files that belong to the masks, one for each; nothing without a folder."""
    if folder is None:
        return {}
    found = _stems(folder, problems)
    problems += [f"{folder}: no {kind} for {mask.name}" for stem, mask in masks.items() if found and stem not in found]
    return found


def _scored_set(base: Path, name: str, entry: Any, problems: list[str]) -> ScoredSet:
    if isinstance(entry, str):
        return ScoredSet(base / entry)
    if not isinstance(entry, dict) or "gts" not in entry or not entry.keys() <= {"gts", "images", "fovs"}:
        problems.append(f"sets.{name}: expected a folder of masks, or {{gts: FOLDER, images: FOLDER, fovs: FOLDER}}")
        return ScoredSet(base)
    return ScoredSet(**{key: base / str(folder) for key, folder in entry.items()})


def _method_folders(base: Path, name: str, entry: Any, sets: list[str], problems: list[str]) -> dict[str, Path]:
    if isinstance(entry, str):
        if "{set}" not in entry and len(sets) > 1:
            problems.append(f"methods.{name}: {entry} lacks {{set}}, and there are {len(sets)} sets")
        return {dataset: base / entry.replace("{set}", dataset) for dataset in sets}
    if not isinstance(entry, dict) or not entry:
        problems.append(f"methods.{name}: expected a folder with {{set}}, or SET: FOLDER for each set")
        return {}
    problems += [f"methods.{name}.{key}: no such set; there are {', '.join(sets)}" for key in entry if key not in sets]
    return {str(key): base / str(folder) for key, folder in entry.items() if key in sets}


def _folder_name(folder: Path, generic: tuple[str, ...]) -> str:
    parts = folder.absolute()
    return parts.parent.name if parts.name.lower() in generic else parts.name


def _size(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape))
