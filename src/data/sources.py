"""Sources: sequences of raw samples, before any resizing, whatever they are read or made from."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from src.data.layouts import SetFolders
from src.data.published_sets import ANY
from src.data.readers import EXTENSIONS, read_sample


class RawSample(NamedTuple):
    """`image` uint8 (H, W, 3) RGB; `mask` bool (H, W), of the same size; `name` the file's stem.

    `valid`: bool (H, W), the pixels that measures count (a retina's field of view); None where a set has no such masks: all of them.
    """

    image: np.ndarray
    mask: np.ndarray
    name: str
    valid: np.ndarray | None = None


@runtime_checkable
class Source(Protocol):
    """A sized, indexable set of raw samples whose names are known without decoding anything."""

    @property
    def names(self) -> Sequence[str]:
        """One stem per sample, in order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...


class FolderPairs:
    """Images and masks of two folders, paired by name (never by sort order) and sorted by it.

    A name is a file's stem, or the part of it that the set's patterns select. Only names present on both sides, and among the fields of
    view where there are any, are in the set; `src.data.verify.checks` reports the others. `shrink_to`, `exif`: see `readers.read_sample`.
    """

    def __init__(self, folders: SetFolders, name: str, shrink_to: int | None = None, exif: bool = True) -> None:
        self.name, self.folders = name, folders
        self.shrink_to, self.exif = shrink_to, exif
        self.images = list_images(folders.images, folders.image_pattern)
        self.masks = list_images(folders.masks, folders.mask_pattern)
        if folders.shared_masks:
            self.masks = {key: files for key, files in self.masks.items() if key in self.images}
        if folders.images == folders.masks:  # one folder: an image is no mask of its own
            self.masks = {key: others for key, files in self.masks.items() if (others := [f for f in files if f not in self.images[key]])}
        self.valid = {} if folders.valid is None else list_images(folders.valid, folders.valid_pattern)
        self._names = sorted(self.images.keys() & self.masks.keys())
        if folders.valid is not None:
            self._names = [key for key in self._names if key in self.valid]

    @property
    def names(self) -> Sequence[str]:
        """Names of the samples, sorted."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        name = self._names[index]
        image, mask, valid = read_sample(*self.paths(name), self.valid_path(name), self.shrink_to, self.exif)
        return RawSample(image, mask, name, valid)

    def paths(self, name: str) -> tuple[Path, Path]:
        """The image's and the mask's file."""
        return self.images[name][0], self.masks[name][0]

    def valid_path(self, name: str) -> Path | None:
        """The file of the field of view, where the set has them."""
        return self.valid[name][0] if self.valid else None


class Concat:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._ends = list(accumulate(len(source) for source in self.sources))
        self._names = [name for source in self.sources for name in source.names]

    @property
    def names(self) -> Sequence[str]:
        """Names of the samples of all sources, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return self.sources[part][index - (self._ends[part - 1] if part else 0)]


class Subset:
    """The samples of a source at the given indices."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = list(indices)

    @property
    def names(self) -> Sequence[str]:
        """Names of the chosen samples."""
        names = self.source.names
        return [names[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> RawSample:
        return self.source[self.indices[index]]


LEFTOVERS = frozenset({"thumbs.db", "desktop.ini"})


def count_suffixes(paths: Sequence[Path]) -> str:
    """Files in words, by their extension.

    >>> count_suffixes([Path("a.heic"), Path("b.heic"), Path("c.txt")])
    '2 .heic (a.heic …), 1 .txt (c.txt)'
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.suffix.lower() or "without extension", []).append(path)
    return ", ".join(f"{len(group)} {suffix} ({group[0].name}{' …' * (len(group) > 1)})" for suffix, group in groups.items())


def list_images(folder: Path, pattern: str = ANY) -> dict[str, list[Path]]:
    """Image files of a folder by name, several where formats compete; hidden files (macOS `._x.jpg`) are no images.

    The name is group 1 of `pattern` in the stem, and what doesn't match is left out. It is composed (NFC), so that names written by macOS
    and by other systems meet, and the hold-out is the same on all of them.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        match = re.fullmatch(pattern, unicodedata.normalize("NFC", path.stem), re.DOTALL)
        if match and path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
            found.setdefault(match.group(1), []).append(path)
    return found
