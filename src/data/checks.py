"""Opening a folder set: everything wrong with it, found before any work starts and mostly without decoding."""

from __future__ import annotations

from pathlib import Path

from src.data.layouts import WHOLE_FOLDER, locate_set
from src.data.readers import Header, mask_orientation, read_whole_header
from src.data.sources import FolderPairs
from src.data.tasks import ANY, Split
from src.utils.errors import UserError


def open_set(root: Path, split: Split, name: str, problems: list[str]) -> FolderPairs | None:
    """The set, with its problems appended to `problems`; None if it isn't there (no problem yet: the caller knows if it must be)."""
    folders = locate_set(root, split, name)
    if folders is None:
        return None
    pairs = FolderPairs(folders, name)
    problems.extend(check_pairs(pairs))
    if not pairs.images:
        problems.append(_no_images(pairs))
    return pairs


def check_pairs(pairs: FolderPairs) -> list[str]:
    """Unpaired and doubled stems, unreadable or truncated files, images and masks of different size; one line each, with its file."""
    problems = []
    for kind, folder, there in (("mask", pairs.folders.masks, pairs.masks), ("field-of-view mask", pairs.folders.valid, pairs.valid)):
        if folder is None:
            continue
        for name in sorted(pairs.images.keys() - there.keys()):
            problems.append(f"{pairs.images[name][0]}: image without {kind}; add {folder / name}.* or remove the image")
        for name in sorted(there.keys() - pairs.images.keys()):
            problems.append(f"{there[name][0]}: {kind} without image; add {pairs.folders.images / name}.* or remove the mask")
    for files in (*pairs.images.values(), *pairs.masks.values(), *pairs.valid.values()):
        if len(files) > 1:
            others = ", ".join(path.name for path in files[1:])
            problems.append(f"{files[0]}: the same stem also in {others}; pairs go by stem, keep one")
    for name in pairs.names:
        problem = _check_headers(*pairs.paths(name), pairs.valid_path(name))
        if problem is not None:
            problems.append(problem)
    return problems


def _no_images(pairs: FolderPairs) -> str:
    pattern, folder = pairs.folders.image_pattern, pairs.folders.images
    packed = next((path for path in sorted(folder.iterdir()) if path.suffix in (".gz", ".zip")), None)
    if packed is not None:
        return f"{folder}: no image files, but {packed.name}; unpack it"
    which = "" if pattern == ANY else f" whose names match {pattern}"
    hint = "" if pattern == ANY else f"; data.train_sets=[{WHOLE_FOLDER}] takes a flat folder whole"
    return f"{folder}: no image files{which}{hint}"


def _check_headers(image_path: Path, mask_path: Path, valid_path: Path | None) -> str | None:
    try:
        image = read_whole_header(image_path)
        for path in (mask_path, valid_path):
            problem = None if path is None else _size_problem(image_path, image, path, read_whole_header(path))
            if problem is not None:
                return problem
    except UserError as error:
        return str(error)
    return None


def _size_problem(image_path: Path, image: Header, path: Path, mask: Header) -> str | None:
    turned = mask_orientation(image, mask)
    mask_size = mask.size[::-1] if turned >= 5 else mask.size
    if mask_size == image.upright_size:
        return None
    (width, height), (mask_width, mask_height) = image.upright_size, mask_size
    note = f", EXIF orientation {image.orientation} applied" if image.orientation != 1 else ""
    return f"{path}: mask is {mask_width}×{mask_height}, its image {image_path.name} is {width}×{height} (width×height{note})"
