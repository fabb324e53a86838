"""Where a set's folders are under the data root: the layouts of the public archives, found without opening a file.

    <root>/TrainDataset/<SET>/{Imgs,GT}     this project and the public test archives; likewise TestDataset
    <root>/TrainDataset/{Imgs,GT}           the COD and polyp archives: training images of several sets, which
                                            their file names tell apart
    <root>/<SET>/{Train,Test}/{Image,GT}    a set's own archive: COD10K-v3, GDD, GSD, DRIVE (training, test)
    <root>/<SET>/{Images/{Train,Test},GT}   CAMO-V1.0: one folder of masks for both splits
    <root>/<SET>/{images,masks}             a set without a split, or with one split only: Kvasir-SEG, NC4K
    <root>/{images,masks}                   the set "."

Folder names match in any letter case. `<root>` may also be the set's own folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from src.data.names import stem_pattern, without
from src.data.published_sets import ANY, SETS, SetSpec, Split, is_published, nearest, spec_of

SPLIT_FOLDERS: dict[Split, str] = {"train": "TrainDataset", "test": "TestDataset"}
SPLIT_WORDS: dict[Split, tuple[str, ...]] = {
    "train": ("traindataset", "train", "training"),
    "test": ("testdataset", "test", "testing"),
}
IMAGE_FOLDERS = ("imgs", "image", "images", "img", "original", "stare-images")
MASK_FOLDERS = ("gt_object", "1st_manual", "gt", "mask", "masks", "gts", "ground truth", "labels-ah")
WHOLE_FOLDER = "."
ONE_FOLDER_SETS = ("CHASE_DB1",)
"""Sets whose archive has images and masks in one folder."""


@dataclass(frozen=True)
class SetFolders:
    """Where a set was found, and the patterns of stems (`published_sets.SetSpec`) that pair its files.

    Attributes:
        images: folder of the images.
        masks: folder of the masks.
        valid: folder of masks of the pixels that count (fields of view); None: all pixels count.
        image_pattern: regular expression of stems; likewise `mask_pattern` and `valid_pattern`.
        shared_masks: whether the folder of masks also has those of other splits.
        image_suffix: the only extension that counts; empty: any. Likewise `mask_suffix`.
        nested: whether files in subfolders are part of the set.
    """

    images: Path
    masks: Path
    valid: Path | None = None
    image_pattern: str = ANY
    mask_pattern: str = ANY
    valid_pattern: str = ANY
    shared_masks: bool = False
    image_suffix: str = ""
    mask_suffix: str = ""
    nested: bool = False


class OwnNames(NamedTuple):
    """File name patterns of the user's own sets, e.g. `%s_image.png` and `%s_segmentation.png`.

    `%s` is the name that an image and its mask share. Without a pattern (None) the stem itself is that name.
    """

    images: str | None = None
    masks: str | None = None


NO_NAMES = OwnNames()


def display_name(root: Path, name: str) -> str:
    """Return the name of a set in tables, maps and file names.

    Published sets have their published names; the set "." is named after its folder.
    """
    return (root.resolve().name or "data") if name == WHOLE_FOLDER else spec_of(name).name


def locate_set(root: Path, split: Split, name: str, own: OwnNames = NO_NAMES) -> SetFolders | None:
    """Return a set's folders, by the most specific layout that fits; None if there are none.

    Args:
        root: the data root.
        split: `train` or `test`.
        name: the set's name.
        own: file name patterns of sets that are not published.

    Raises:
        UserError: a pattern of `own` is not valid.
    """
    spec = spec_of(name)
    for base in _bases(root, split, spec):
        found = _folders_in(base, split, spec) if is_published(name) else _own_folders(base, split, own)
        if found is not None:
            return found
    return None


def missing_set(root: Path, split: Split, name: str) -> str:
    """Return a message about a set that `locate_set` doesn't find.

    It says what was looked for, what was found, and which name was probably meant.
    """
    folder, split_dirs = root / SPLIT_FOLDERS[split] / name, list(_split_dirs(root, split))
    base = next((base for base in _bases(root, split, spec_of(name)) if base not in split_dirs), None)
    if base is not None:
        needed = "needs a folder of images (such as Imgs, images) and one of masks (such as GT, masks)"
        return unlabelled_split(root, split, name) or f"{base}: {needed}; it holds {_listed(base)}"
    present = [child.name for base in (root, *split_dirs) for child in _subfolders(base)]
    meant = nearest(name, [*SETS, *present])
    if is_published(name):
        meant = [other for other in meant if other in present]
    hint = f"; did you mean {' or '.join(meant)}?" if meant else "."
    ask = f" It is {spec_of(name).source}." if is_published(name) else ""
    return (
        f"{folder}: no such folder, nor {root / name}; {root} holds {_listed(root)}{_split_listing(root, split)}{hint}"
        f"{ask} Unpack it there, set data.root, or take {name} out of data.{split}_sets; nothing is downloaded"
    )


def unlabelled_split(root: Path, split: Split, name: str) -> str | None:
    """Return a message if a split has images and fields of view but no labels; None otherwise.

    Challenges publish their test images in this form.
    """
    for base in _bases(root, split, spec_of(name)):
        if any(_is_view(child, spec_of(name)) for child in _subfolders(base)):
            listed = ", ".join(child.name for child in _subfolders(base))
            way = f"add 1st_manual, or take it out of data.{split}_sets"
            return f"{base}: {name} has no labels, only images and fields of view ({listed}); {way}"
    return None


def missing_root(root: Path) -> str:
    """Return a message about a data root that is not a folder."""
    if root.is_file():
        return f"data.root={root}: is a file; set data.root=FOLDER (or the variable COS_DATA)"
    parent = next((folder for folder in root.parents if folder.is_dir()), Path("."))
    missing, *rest = root.parts[len(parent.parts) :]
    meant = [parent / name for name in nearest(missing, [child.name for child in _subfolders(parent)])]
    meant = [folder.joinpath(*rest) for folder in meant if folder.joinpath(*rest).is_dir()] or meant
    hint = f"; did you mean {' or '.join(map(str, meant))}?" if meant else f"; {parent} holds {_listed(parent)}."
    return f"data.root={root}: no such folder{hint} Set data.root=FOLDER (or the variable COS_DATA)"


def _bases(root: Path, split: Split, spec: SetSpec) -> Iterator[Path]:
    """Yield the existing folders that may contain the set's folders of images and masks."""
    split_dirs = list(_split_dirs(root, split))
    if spec.name == WHOLE_FOLDER:
        yield from split_dirs
        yield root
        return
    names = {spec.name.lower(), *(folder.lower() for folder in spec.folders)}
    in_split = [child for base in split_dirs for child in _subfolders(base) if child.name.lower() in names]
    yield from in_split
    if split == "train" and not in_split and spec.flat is not None:
        yield from split_dirs
    own = [child for child in _subfolders(root) if child.name.lower() in names]
    for folder in [*own, *([root] if root.resolve().name.lower() in names else [])]:
        yield from _split_dirs(folder, split)
        if spec.train is None or spec.test is None or spec.name in ONE_FOLDER_SETS or _has_image_splits(folder):
            yield folder


def _folders_in(base: Path, split: Split, spec: SetSpec) -> SetFolders | None:
    is_flat = spec.flat is not None and base.name.lower() in SPLIT_WORDS[split] and not _is_own(base, spec)
    patterns = {
        "image_pattern": spec.flat if is_flat else spec.image_pattern(split),
        "mask_pattern": spec.flat if is_flat else spec.masks,
        "valid_pattern": spec.valid,
    }
    children = {child.name.lower(): child for child in _subfolders(base)}
    images = next((children[name] for name in IMAGE_FOLDERS if name in children), None)
    masks = next(
        (children[name] for name in MASK_FOLDERS if name in children and not _is_view(children[name], spec)), None
    )
    if images is None or masks is None:
        return SetFolders(base, base, shared_masks=True, **patterns) if spec.name in ONE_FOLDER_SETS else None  # type: ignore[arg-type]
    halves = list(_split_dirs(images, split))
    # DRIVE's folder `mask` holds the fields of view, beside the vessels in `1st_manual`.
    valid = children.get("fov") or (children.get("mask") if masks.name.lower() == "1st_manual" else None)
    return SetFolders(
        halves[0] if halves else images,
        masks,
        valid,
        shared_masks=bool(halves) or spec.image_splits is not None,
        **patterns,  # type: ignore[arg-type]
    )


def _own_folders(base: Path, split: Split, own: OwnNames) -> SetFolders | None:
    """Return the folders of a set that is not published; with a pattern for masks they may be among the images."""
    found = _folders_in(base, split, SetSpec("", "your own"))
    if found is None and own.masks is not None:
        children = {child.name.lower(): child for child in _subfolders(base)}
        folder = next((children[name] for name in IMAGE_FOLDERS if name in children), base)
        found = SetFolders(folder, folder, shared_masks=True)
    if found is None:
        return None
    images = (ANY, "") if own.images is None else stem_pattern("data.images", own.images)
    masks = (ANY, "") if own.masks is None else stem_pattern("data.masks", own.masks)
    if found.images == found.masks and own.images is None:
        images = (without(masks[0]), "")
    named = {"image_pattern": images[0], "image_suffix": images[1], "mask_pattern": masks[0], "mask_suffix": masks[1]}
    return replace(found, nested=True, **named)  # type: ignore[arg-type]


def _is_view(folder: Path, spec: SetSpec) -> bool:
    """Return whether a folder called `mask` holds fields of view: none of its files is named like a mask of the set."""
    if folder.name.lower() != "mask" or spec.valid == ANY:
        return False
    return not any(re.fullmatch(spec.masks, path.stem) for path in folder.iterdir())


def _is_own(base: Path, spec: SetSpec) -> bool:
    """Return whether a split's folder is inside the set's own (COD10K-v3/Train) rather than directly under the root."""
    return base.parent.name.lower() in {spec.name.lower(), *(folder.lower() for folder in spec.folders)}


def _has_image_splits(folder: Path) -> bool:
    return any(
        next(_split_dirs(child, "train"), None) for child in _subfolders(folder) if child.name.lower() in IMAGE_FOLDERS
    )


def _split_dirs(folder: Path, split: Split) -> Iterator[Path]:
    """Yield TrainDataset, Train, training … of a folder, the project's own name first."""
    children = {child.name.lower(): child for child in _subfolders(folder)}
    yield from (children[word] for word in SPLIT_WORDS[split] if word in children)


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [child for child in sorted(folder.iterdir()) if child.is_dir() and not child.name.startswith((".", "__"))]


def _listed(folder: Path, limit: int = 8) -> str:
    names = [child.name + "/" * child.is_dir() for child in sorted(folder.iterdir()) if not child.name.startswith(".")]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or "nothing") + more


def _split_listing(root: Path, split: Split) -> str:
    return "".join(f", {folder.name}/ holds {_listed(folder)}" for folder in _split_dirs(root, split))
