"""Sources: sequences of raw samples, before any resizing, no matter where they come from."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Collection, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from src.data.layouts import SetFolders
from src.data.published_sets import ANY
from src.data.readers import EXTENSIONS, read_sample

LEFTOVERS = frozenset({"thumbs.db", "desktop.ini"})


class RawSample(NamedTuple):
    """An image with its mask.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        mask: bool (H, W), of the same size unless `shrink_to` is set.
        name: the sample's name, by default the file's stem.
        valid: bool (H, W), the pixels that measures count (a retina's field of view); None: all of them.
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
        """Return one name per sample, in order."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> RawSample: ...


class FolderPairs:
    """Images and masks of two folders, paired by name (never by sort order) and sorted by it.

    A name is a file's stem, or the part of it that the set's patterns select. The set consists of the names that have
    an image, a mask and, if there are fields of view, one of these; `src.data.verify.checks` reports the others.

    Args:
        folders: where the files are.
        name: the set's name.
        shrink_to: see `readers.read_sample`.
        exif: likewise.
        ignore: likewise.

    Attributes:
        reading: how its masks are read, in words; empty until they are checked.
    """

    def __init__(
        self, folders: SetFolders, name: str, shrink_to: int | None = None, exif: bool = True, ignore: int | None = None
    ) -> None:
        self.name, self.folders = name, folders
        self.shrink_to, self.exif, self.ignore = shrink_to, exif, ignore
        self.reading = ""
        self.images = list_images(
            folders.images, folders.image_pattern, folders.nested, _suffixes(folders.image_suffix)
        )
        self.masks = list_images(folders.masks, folders.mask_pattern, folders.nested, _suffixes(folders.mask_suffix))
        if folders.shared_masks:
            self.masks = {key: files for key, files in self.masks.items() if key in self.images}
        if folders.images == folders.masks:  # one folder: an image is not its own mask
            self.masks = {
                key: others
                for key, files in self.masks.items()
                if (others := [f for f in files if f not in self.images[key]])
            }
        self.valid = {} if folders.valid is None else list_images(folders.valid, folders.valid_pattern, folders.nested)
        self._names = sorted(self.images.keys() & self.masks.keys())
        if folders.valid is not None:
            self._names = [key for key in self._names if key in self.valid]

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the samples, sorted."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        name = self._names[index]
        image, mask, valid = read_sample(
            *self.paths(name), self.valid_path(name), self.shrink_to, self.exif, self.ignore
        )
        return RawSample(image, mask, name, valid)

    def paths(self, name: str) -> tuple[Path, Path]:
        """Return the files of the image and of the mask."""
        return self.images[name][0], self.masks[name][0]

    def valid_path(self, name: str) -> Path | None:
        """Return the file of the field of view; None if the set has none."""
        return self.valid[name][0] if self.valid else None


class Concat:
    """Several sources one after the other.

    Args:
        sources: what is joined.
        labels: prefixes of the names, `CAMO/camourflage_00001`, if there is more than one source; None: no prefixes.
    """

    def __init__(self, sources: Sequence[Source], labels: Sequence[str] | None = None) -> None:
        self.sources = list(sources)
        self._ends = list(accumulate(len(source) for source in self.sources))
        prefixes = (
            [f"{label}/" for label in labels]
            if labels is not None and len(self.sources) > 1
            else [""] * len(self.sources)
        )
        self._names = [
            prefix + name for source, prefix in zip(self.sources, prefixes, strict=True) for name in source.names
        ]

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the samples of all sources, in order."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return self.sources[part][index - (self._ends[part - 1] if part else 0)]._replace(name=self._names[index])


class Subset:
    """The samples of a source at the given indices."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = list(indices)

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the chosen samples."""
        names = self.source.names
        return [names[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> RawSample:
        return self.source[self.indices[index]]


def _suffixes(only: str) -> Collection[str]:
    return (only,) if only else EXTENSIONS


def list_images(
    folder: Path, pattern: str = ANY, nested: bool = False, suffixes: Collection[str] = EXTENSIONS
) -> dict[str, list[Path]]:
    """Return the image files of a folder by name; hidden files (macOS `._x.jpg`) are left out.

    The name is group 1 of `pattern` in the stem; files that don't match are left out. Names are composed (NFC), so that
    those written by macOS and by other systems are equal, and the hold-out is the same on all of them.

    Args:
        folder: where to look.
        pattern: a regular expression of stems.
        nested: whether to look into subfolders; names then begin with theirs, `birds/wren`.
        suffixes: extensions to include, in lower case.

    Returns:
        Name → its files: more than one if the image exists in several formats.
    """
    found: dict[str, list[Path]] = {}
    for path in list_files(folder, nested):
        match = re.fullmatch(pattern, unicodedata.normalize("NFC", path.stem), re.DOTALL)
        if match and path.suffix.lower() in suffixes:
            place = unicodedata.normalize("NFC", path.parent.relative_to(folder).as_posix())
            found.setdefault(match.group(1) if place == "." else f"{place}/{match.group(1)}", []).append(path)
    return found


def list_files(folder: Path, nested: bool = False) -> list[Path]:
    """Return the files of a folder that are not hidden, sorted; with `nested`, also those of its subfolders."""
    paths = folder.rglob("*") if nested else folder.iterdir()
    return sorted(path for path in paths if not _is_hidden(path.relative_to(folder)) and not path.is_dir())


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or any(part.startswith((".", "__")) for part in path.parts[:-1])


def unread_files(folder: Path, nested: bool = False) -> list[Path]:
    """Return the files that no reader takes, except for leftovers of file managers (`LEFTOVERS`)."""
    return [
        path
        for path in list_files(folder, nested)
        if path.suffix.lower() not in EXTENSIONS and path.name.lower() not in LEFTOVERS
    ]


def count_suffixes(paths: Sequence[Path]) -> str:
    """Return in words how many files there are of each extension.

    >>> count_suffixes([Path("a.heic"), Path("b.heic"), Path("c.txt")])
    '2 .heic (a.heic …), 1 .txt (c.txt)'
    """
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.suffix.lower() or "without extension", []).append(path)
    return ", ".join(
        f"{len(group)} {suffix} ({group[0].name}{' …' * (len(group) > 1)})" for suffix, group in groups.items()
    )
