"""Score the map files of any method, and notice files that are probably not what they seem."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from rich.progress import track

from src.cli.command import console
from src.data.maps import read_stored_map
from src.data.masks import MaskFacts
from src.data.readers import read_image, read_judged, read_mask
from src.metrics import MEASURES
from src.scoring.pairing import MapFiles
from src.scoring.plausible import MapFacts, map_facts, map_warnings, mask_notes, mask_problems
from src.scoring.pool import WorkerPool
from src.scoring.scorer import score_maps
from src.scoring.scores import ImageScores, SetScores
from src.utils.errors import UserError


@dataclass(frozen=True)
class ScoreSettings:
    """How maps are scored.

    Attributes:
        protocol: `field`, `raw` or `released`.
        extra: names of slow measures.
        ignore_value: the value of pixels in masks that do not count; None: all pixels count.
    """

    protocol: str
    extra: tuple[str, ...] = ()
    ignore_value: int | None = None


@dataclass(frozen=True)
class ScoredFiles:
    """The scores of one map, and facts that show whether map and mask are plausible."""

    scores: ImageScores
    map: MapFacts
    mask: MaskFacts


def score_files(files: MapFiles, settings: ScoreSettings) -> ScoredFiles | str:
    """Score one map against its mask; return the problem if a file cannot be used.

    A map of another size is resized to the mask's (`resize_map`).
    """
    try:
        stored, ((target, known), facts) = read_stored_map(files.pred), read_judged(files.gt, settings.ignore_value)
        if wrong := mask_problems(files.gt, facts):
            return wrong[0]
        valid = known if files.fov is None else read_mask(files.fov)
        if valid is not None and valid.shape != target.shape:
            sizes = f"{_size(valid)}, its mask {_size(target)} (height×width)"
            return f"{files.fov}: {sizes}; a field of view must have the mask's size"
        if files.fov is not None and known is not None:
            valid = valid & known
        resized = stored.values.shape != target.shape
        pred = resize_map(stored.values, target.shape) if resized else stored.values
        looks = any(MEASURES[name].needs_image for name in settings.extra)
        picture = read_image(files.source) if looks and files.source is not None else None
        scored = score_maps(files.image, {"": pred}, target, valid, settings.protocol, settings.extra, picture=picture)
    except UserError as error:
        return str(error)
    return ScoredFiles(replace(scored[""], resized=resized), map_facts(stored, target), facts)


def score_all_files(
    jobs: Mapping[tuple[str, str], list[MapFiles]], settings: ScoreSettings, pool: WorkerPool, problems: list[str]
) -> tuple[dict[str, list[SetScores]], list[str]]:
    """Score every map under a progress bar.

    Args:
        jobs: (data set, method) → its maps, as `pair_files` returns them.
        settings: how they are scored.
        pool: the threads that score.
        problems: broken files and masks that cannot be right are appended.

    Returns:
        Data set → the scores of its methods; and notes on masks and maps, one line each.
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


def _notes(
    seen: Mapping[tuple[str, str], list[tuple[Path, ScoredFiles]]], protocol: str, problems: list[str]
) -> list[str]:
    """Return how the masks of each set are read, and what looks wrong; the latter is also issued as warnings."""
    notes, suspicious = dict[str, str](), list[str]()
    for (dataset, method), group in seen.items():
        if dataset not in notes:  # all methods share the masks
            notes[dataset], found = mask_notes(
                dataset, group[0][0].parent, [(path, one.mask) for path, one in group], problems
            )
            suspicious += found
        suspicious += map_warnings(method, dataset, [one.map for _, one in group], protocol)
    for line in suspicious:
        warnings.warn(line, stacklevel=2)
    return [f"{line}." for line in (*notes.values(), *suspicious)]


def resize_map(pred: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Resize a map (h, w) in [0, 1] to (H, W) like the field's toolboxes: bilinear, no antialiasing (`cv2.resize`)."""
    return np.clip(cv2.resize(pred, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR), 0.0, 1.0)


def _size(array: np.ndarray) -> str:
    return "×".join(map(str, array.shape))
