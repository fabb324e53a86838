"""Opening a folder set: everything wrong with it, found before any work starts and mostly without decoding."""

from __future__ import annotations

from pathlib import Path

from src.data.readers import mask_orientation, read_whole_header
from src.data.sources import FolderPairs
from src.data.tasks import IMAGE_FOLDERS, MASK_FOLDERS, SPLIT_FOLDERS, Split, locate_set
from src.utils.errors import UserError


def open_set(root: Path, split: Split, name: str, problems: list[str]) -> FolderPairs | None:
    """The set, with its problems appended to `problems`; None if it isn't there (no problem yet: the caller knows if it must be)."""
    folders = locate_set(root, split, name)
    if folders is None:
        return None
    pairs = FolderPairs(folders.images, folders.masks, name, folders.stem_prefix)
    problems.extend(check_pairs(pairs))
    if not pairs.images and not pairs.masks:
        which = f" whose names begin with {folders.stem_prefix}" if folders.stem_prefix else ""
        hint = "; data.train_sets=[.] takes a flat folder whole" if folders.stem_prefix else ""
        problems.append(f"{pairs.images_dir}: no image files{which}{hint}")
    return pairs


def missing_set(root: Path, split: Split, name: str) -> str:
    """What to say about a set that `locate_set` doesn't find."""
    folder = root / SPLIT_FOLDERS[split] / name
    if not folder.is_dir():
        return f"{folder}: no such folder; unpack {name} there, set data.root, or take {name} out of data.{split}_sets"
    images, masks = " or ".join(IMAGE_FOLDERS), " or ".join(MASK_FOLDERS)
    return f"{folder}: needs a folder of images ({images}) and one of masks ({masks}), in any letter case"


def check_pairs(pairs: FolderPairs) -> list[str]:
    """Unpaired and doubled stems, unreadable or truncated files, images and masks of different size; one line each, with its file."""
    problems = []
    for stem in sorted(pairs.images.keys() - pairs.masks.keys()):
        problems.append(f"{pairs.images[stem][0]}: image without mask; add {pairs.masks_dir / stem}.* or remove the image")
    for stem in sorted(pairs.masks.keys() - pairs.images.keys()):
        problems.append(f"{pairs.masks[stem][0]}: mask without image; add {pairs.images_dir / stem}.* or remove the mask")
    for files in (*pairs.images.values(), *pairs.masks.values()):
        if len(files) > 1:
            others = ", ".join(path.name for path in files[1:])
            problems.append(f"{files[0]}: the same stem also in {others}; pairs go by stem, keep one")
    for stem in pairs.names:
        problem = _check_headers(*pairs.paths(stem))
        if problem is not None:
            problems.append(problem)
    return problems


def _check_headers(image_path: Path, mask_path: Path) -> str | None:
    try:
        image, mask = read_whole_header(image_path), read_whole_header(mask_path)
    except UserError as error:
        return str(error)
    turned = mask_orientation(image, mask)
    mask_size = mask.size[::-1] if turned >= 5 else mask.size
    if mask_size == image.upright_size:
        return None
    (width, height), (mask_width, mask_height) = image.upright_size, mask_size
    note = f", EXIF orientation {image.orientation} applied" if image.orientation != 1 else ""
    return f"{mask_path}: mask is {mask_width}×{mask_height}, its image {image_path.name} is {width}×{height} (width×height{note})"
