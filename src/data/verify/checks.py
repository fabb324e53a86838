"""The cheap checks of a folder set: what its names and headers tell, mostly without decoding. Training runs them before any work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from src.data.layouts import WHOLE_FOLDER, locate_set
from src.data.published_sets import ANY, Split
from src.data.readers import Header, mask_orientation, read_whole_header
from src.data.sources import FolderPairs
from src.data.verify.findings import UNPRINTABLE, Finding, errors
from src.data.verify.verdicts import known_usable, remember_usable
from src.utils.errors import UserError


def open_set(
    root: Path, split: Split, name: str, problems: list[str], shrink_to: int | None = None, exif: bool = True
) -> FolderPairs | None:
    """The set, with its problems appended to `problems`; None if it isn't there (no problem yet: the caller knows if it must be).

    A set whose files are as they were when it last passed is not checked again.
    """
    folders = locate_set(root, split, name)
    if folders is None:
        return None
    pairs = FolderPairs(folders, name, shrink_to, exif)
    if known_usable(pairs):
        return pairs
    found = errors(check_pairs(pairs))
    if not found:
        remember_usable(pairs)
    problems.extend(found)
    return pairs


def check_pairs(pairs: FolderPairs) -> list[Finding]:
    """No images, unpaired, doubled and unprintable names, unreadable, truncated or oversized files, sizes that differ, turned images."""
    found = [Finding("error", "empty", pairs.folders.images, _no_images(pairs))] if not pairs.images else []
    found += _names(pairs)
    for name in pairs.names:
        found += _headers(*pairs.paths(name), pairs.valid_path(name))
    return found


def _names(pairs: FolderPairs) -> Iterator[Finding]:
    for kind, folder, there in (("mask", pairs.folders.masks, pairs.masks), ("field-of-view mask", pairs.folders.valid, pairs.valid)):
        if folder is None:
            continue
        for name in sorted(pairs.images.keys() - there.keys()):
            text = f"image without {kind}; add {folder / name}.* or remove the image"
            yield Finding("error", "unpaired", pairs.images[name][0], text)
        for name in sorted(there.keys() - pairs.images.keys()):
            text = f"{kind} without image; add {pairs.folders.images / name}.* or remove the mask"
            yield Finding("error", "unpaired", there[name][0], text)
    for files in (*pairs.images.values(), *pairs.masks.values(), *pairs.valid.values()):
        if len(files) > 1:
            others = ", ".join(path.name for path in files[1:])
            yield Finding("error", "doubled", files[0], f"the same stem also in {others}; pairs go by stem, keep one")
        if UNPRINTABLE.search(files[0].name):
            yield Finding("error", "name", files[0], "control characters or bytes that are no UTF-8 in its name; rename it")


def _no_images(pairs: FolderPairs) -> str:
    pattern, folder = pairs.folders.image_pattern, pairs.folders.images
    packed = next((path for path in sorted(folder.iterdir()) if path.suffix in (".gz", ".zip")), None)
    if packed is not None:
        return f"no image files, but {packed.name}; unpack it"
    if pattern == ANY:
        return "no image files"
    return f"no image files whose names match {pattern}; data.train_sets=[{WHOLE_FOLDER}] takes a flat folder whole"


def _headers(image_path: Path, mask_path: Path, valid_path: Path | None) -> list[Finding]:
    headers: dict[Path, Header] = {}
    found = []
    for path in (image_path, mask_path, valid_path):
        if path is None:
            continue
        try:
            headers[path] = read_whole_header(path)
        except UserError as error:
            found.append(Finding("error", "unreadable", path, str(error).removeprefix(f"{path}: ")))
    if found:
        return found
    image = headers.pop(image_path)
    if image.size[0] * image.size[1] > (Image.MAX_IMAGE_PIXELS or float("inf")):
        text = f"{image.size[0]}×{image.size[1]} pixels, so many that Pillow warns; reduce it, or remove it if it is no photograph"
        found.append(Finding("warning", "huge", image_path, text))
    for path, mask in headers.items():
        turned = mask_orientation(image, mask)
        mask_size = mask.size[::-1] if turned >= 5 else mask.size
        if mask_size != image.upright_size:
            (width, height), (mask_width, mask_height) = image.upright_size, mask_size
            note = f", EXIF orientation {image.orientation} applied" if image.orientation != 1 else ""
            text = f"mask is {mask_width}×{mask_height}, its image {image_path.name} is {width}×{height} (width×height{note})"
            found.append(Finding("error", "size", path, text))
        elif image.orientation != 1:
            how = "turns with it" if turned == image.orientation else "is upright already"
            text = f"EXIF orientation {image.orientation} is applied; its mask {path.name} {how}: look whether it lies on the object"
            found.append(Finding("warning", "turned", image_path, text))
    return found
