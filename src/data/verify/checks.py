"""The checks that training runs before any work: names and headers of a folder set, and how its masks are read."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image
from rich.markup import escape
from rich.progress import track

from src.cli.command import console
from src.data.layouts import NO_NAMES, WHOLE_FOLDER, OwnNames, display_name, locate_set
from src.data.names import guess_pattern
from src.data.published_sets import ANY, Split, is_published
from src.data.readers import Header, mask_orientation, read_judged, read_whole_header
from src.data.sources import FolderPairs, count_suffixes, list_images, unread_files
from src.data.verify.findings import UNPRINTABLE, Finding, errors
from src.data.verify.masks import ORDINARY, Judged, judge_mask, judge_set, reading, summaries
from src.data.verify.verdicts import Verdict, known_verdict, remember
from src.utils.errors import UserError
from src.utils.launch import global_rank
from src.utils.process import available_cores

SHOWS_PROGRESS = 200
"""From this number of masks on, reading a set shows a progress bar."""


def open_set(
    root: Path,
    split: Split,
    name: str,
    problems: list[str],
    notes: list[str] | None = None,
    shrink_to: int | None = None,
    exif: bool = True,
    ignore: int | None = None,
    own: OwnNames = NO_NAMES,
) -> FolderPairs | None:
    """Open and check a set.

    A set that passed before, and whose files have not changed since, is not checked again.

    Args:
        root: the data root.
        split: `train` or `test`.
        name: the set's name.
        problems: errors that make the set unusable are appended.
        notes: warnings that somebody should look at are appended.
        shrink_to: see `readers.read_sample`.
        exif: likewise.
        ignore: likewise.
        own: see `layouts.locate_set`.

    Returns:
        The set; None if it does not exist, which is a problem only if the caller needs it.
    """
    folders = locate_set(root, split, name, own)
    if folders is None:
        return None
    pairs = FolderPairs(folders, display_name(root, name), shrink_to, exif, ignore)
    verdict = known_verdict(pairs)
    if verdict is None:
        findings, masks = check_set(pairs)
        if found := errors(findings):
            problems.extend(found)
            return pairs
        verdict = verdict_on(pairs, split, findings, masks)
        remember(pairs, verdict)
    pairs.reading = verdict.reading
    if notes is not None:
        notes.extend(verdict.notes)
    return pairs


def check_set(pairs: FolderPairs) -> tuple[list[Finding], list[Judged]]:
    """Return the findings of `check_pairs` and, if these include no error, of all masks, with the facts on each."""
    findings = check_pairs(pairs)
    if errors(findings):
        return findings, []
    masks, paths = [], [pairs.paths(name)[1] for name in pairs.names]
    shown = len(paths) >= SHOWS_PROGRESS and global_rank() == 0
    with ThreadPoolExecutor(available_cores()) as pool:
        done = pool.map(lambda path: _judged(path, pairs.ignore), paths)
        for found, judged in track(
            done, f"Masks of {escape(pairs.name)}", len(paths), console=console(), transient=True, disable=not shown
        ):
            findings += found
            masks += judged
    return [*findings, *judge_set(pairs.folders.masks, masks)], masks


def _judged(path: Path, ignore: int | None) -> tuple[list[Finding], list[Judged]]:
    try:
        facts = read_judged(path, ignore)[1]
    except UserError as error:
        return [Finding("error", "unreadable", path, str(error).removeprefix(f"{path}: "))], []
    return list(judge_mask(path, facts)), [(path, facts)]


def verdict_on(pairs: FolderPairs, split: Split, findings: list[Finding], masks: list[Judged]) -> Verdict:
    """Return what to remember about a usable set.

    Args:
        pairs: the set.
        split: `train` or `test`, for the label.
        findings: of `check_set`.
        masks: likewise.
    """
    label = f"{pairs.name}-{split.capitalize()}"
    remarkable = [finding for finding in findings if finding.kind not in ORDINARY]
    return Verdict(reading(facts for _, facts in masks), summaries(label, len(pairs), remarkable))


def check_pairs(pairs: FolderPairs) -> list[Finding]:
    """Return what names and headers reveal about a set.

    It is one of: no images; unpaired, duplicate or unprintable names; unreadable, truncated or oversized files; images
    and masks of different sizes; turned images.
    """
    found = [Finding("error", "empty", pairs.folders.images, _no_images(pairs))] if not pairs.images else []
    guess = _guessed_names(pairs)
    found += [guess] if guess is not None else _names(pairs)
    found += _left_out(pairs)
    for name in pairs.names:
        found += _headers(*pairs.paths(name), pairs.valid_path(name))
    return found


def _guessed_names(pairs: FolderPairs) -> Finding | None:
    """Return one error, instead of one per file, if a pattern explains why masks and images have different names."""
    folders = pairs.folders
    if is_published(pairs.name) or len(pairs) > len(pairs.images) / 2 or folders.images == folders.masks:
        return None
    for key, names, others in (("masks", pairs.images, pairs.masks), ("images", pairs.masks, pairs.images)):
        pattern = guess_pattern(names, others)
        if pattern is not None:
            paired = f"{len(pairs)} of {len(pairs.images)} images have a mask of the same name"
            text = f"{paired}; {key} are called {pattern}: add data.{key}={pattern}"
            return Finding("error", "unpaired", folders.masks if key == "masks" else folders.images, text)
    return None


def _left_out(pairs: FolderPairs) -> Iterator[Finding]:
    """Yield warnings about files that no reader takes, and about those that a pattern leaves out."""
    folders = pairs.folders
    for folder in dict.fromkeys((folders.images, folders.masks)):
        unread = unread_files(folder, folders.nested)
        if unread:
            yield Finding(
                "warning",
                "left out",
                folder,
                f"not read, as Pillow cannot or they are no pictures: {count_suffixes(unread)}",
            )
    if not is_published(pairs.name):
        taken = {path for files in (*pairs.images.values(), *pairs.masks.values()) for path in files}
        for folder in dict.fromkeys((folders.images, folders.masks)):
            others = [
                path
                for files in list_images(folder, nested=folders.nested).values()
                for path in files
                if path not in taken
            ]
            if others and not folders.shared_masks:
                yield Finding("warning", "left out", folder, f"other names than the pattern: {count_suffixes(others)}")


def _names(pairs: FolderPairs) -> Iterator[Finding]:
    for kind, folder, there in (
        ("mask", pairs.folders.masks, pairs.masks),
        ("field-of-view mask", pairs.folders.valid, pairs.valid),
    ):
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
            yield Finding(
                "error", "name", files[0], "control characters or bytes that are no UTF-8 in its name; rename it"
            )


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
        text = (
            f"{image.size[0]}×{image.size[1]} pixels, so many that Pillow warns; "
            "reduce it, or remove it if it is no photograph"
        )
        found.append(Finding("warning", "huge", image_path, text))
    for path, mask in headers.items():
        turned = mask_orientation(image, mask)
        mask_size = mask.size[::-1] if turned >= 5 else mask.size
        if mask_size != image.upright_size:
            (width, height), (mask_width, mask_height) = image.upright_size, mask_size
            note = f", EXIF orientation {image.orientation} applied" if image.orientation != 1 else ""
            text = (
                f"mask is {mask_width}×{mask_height}, "
                f"its image {image_path.name} is {width}×{height} (width×height{note})"
            )
            found.append(Finding("error", "size", path, text))
        elif image.orientation != 1:
            how = "turns with it" if turned == image.orientation else "is upright already"
            text = (
                f"EXIF orientation {image.orientation} is applied; "
                f"its mask {path.name} {how}: look whether it lies on the object"
            )
            found.append(Finding("warning", "turned", image_path, text))
    return found
