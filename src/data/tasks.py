"""The published data sets: how many images each should hold, and where they lie under the data root.

Which sets make a task stands in `conf/data/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Split = Literal["train", "test"]

SPLIT_FOLDERS: dict[Split, str] = {"train": "TrainDataset", "test": "TestDataset"}
IMAGE_FOLDERS = ("imgs", "image", "images", "img")
MASK_FOLDERS = ("gt", "mask", "masks", "gts")


@dataclass(frozen=True)
class SetSpec:
    """A published data set: `train` and `test` are its official numbers of images (None: no such split in this task).

    `flat_prefix` begins the stems of its training images, so that they are found in a flat folder that mixes sets.
    """

    name: str
    train: int | None = None
    test: int | None = None
    flat_prefix: str | None = None

    def expected(self, split: Split) -> int | None:
        return self.train if split == "train" else self.test


SETS = {
    spec.name: spec
    for spec in (
        SetSpec("CAMO", train=1000, test=250, flat_prefix="camourflage_"),
        SetSpec("COD10K", train=3040, test=2026, flat_prefix="COD10K-"),
        SetSpec("CHAMELEON", test=76),
        SetSpec("NC4K", test=4121),
    )
}


@dataclass(frozen=True)
class SetFolders:
    """Where a set was found; `stem_prefix` selects it from a flat folder ("" = everything in it)."""

    images: Path
    masks: Path
    stem_prefix: str = ""


def count_note(name: str, split: Split, found: int) -> str | None:
    """None if a set is complete or unknown, else a line to stand wherever its numbers are shown: "CAMO-Test, 248 of 250 images"."""
    expected = SETS[name].expected(split) if name in SETS else None
    return None if expected is None or expected == found else f"{name}-{split.capitalize()}, {found} of {expected} images"


def locate_set(root: Path, split: Split, name: str) -> SetFolders | None:
    """Find a set's image and mask folders, None if there are none.

    Layouts: `<root>/TrainDataset/<SET>/{Imgs,GT}`, and for training also the flat `<root>/TrainDataset/{Imgs,GT}` of the public COD
    archive, in which a known set is recognised by its file names. The set "." takes the flat folder whole.
    """
    base = root / SPLIT_FOLDERS[split]
    folders = _image_and_mask_folders(base / name)
    if folders is not None:
        return SetFolders(*folders)
    flat = _image_and_mask_folders(base)
    prefix = SETS[name].flat_prefix if name in SETS else None
    if split == "test" or flat is None or prefix is None or (base / name).is_dir():
        return None
    return SetFolders(*flat, stem_prefix=prefix)


def _image_and_mask_folders(folder: Path) -> tuple[Path, Path] | None:
    if not folder.is_dir():
        return None
    children = {child.name.lower(): child for child in sorted(folder.iterdir()) if child.is_dir()}
    images = next((children[name] for name in IMAGE_FOLDERS if name in children), None)
    masks = next((children[name] for name in MASK_FOLDERS if name in children), None)
    return None if images is None or masks is None else (images, masks)
