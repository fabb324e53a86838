"""Sources: sequences of raw samples, before any resizing, whatever they are read or made from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from src.data.readers import EXTENSIONS, mask_orientation, read_header, read_image, read_mask


class RawSample(NamedTuple):
    """`image` uint8 (H, W, 3) RGB; `mask` bool (H, W), of the same size; `name` the file's stem."""

    image: np.ndarray
    mask: np.ndarray
    name: str


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
    """Images and masks of two folders, paired by stem (never by sort order) and sorted by it.

    Only stems present on both sides are in the set; `src.data.checks` reports the others.
    """

    def __init__(self, images_dir: Path | str, masks_dir: Path | str, name: str, stem_prefix: str = "") -> None:
        self.name = name
        self.images_dir, self.masks_dir = Path(images_dir), Path(masks_dir)
        self.images = list_images(self.images_dir, stem_prefix)
        self.masks = list_images(self.masks_dir, stem_prefix)
        self._names = sorted(self.images.keys() & self.masks.keys())

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        stem = self._names[index]
        image_path, mask_path = self.paths(stem)
        orientation = mask_orientation(read_header(image_path), read_header(mask_path))
        return RawSample(read_image(image_path), read_mask(mask_path, orientation), stem)

    def paths(self, stem: str) -> tuple[Path, Path]:
        """The image's and the mask's file."""
        return self.images[stem][0], self.masks[stem][0]


class Concat:
    """Several sources one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = list(sources)
        self._ends = list(accumulate(len(source) for source in self.sources))
        self._names = [name for source in self.sources for name in source.names]

    @property
    def names(self) -> Sequence[str]:
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> RawSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = next(i for i, end in enumerate(self._ends) if index < end)
        return self.sources[part][index - (self._ends[part - 1] if part else 0)]


class Subset:
    """The samples of a source at the given indices."""

    def __init__(self, source: Source, indices: Sequence[int]) -> None:
        self.source = source
        self.indices = list(indices)

    @property
    def names(self) -> Sequence[str]:
        names = self.source.names
        return [names[i] for i in self.indices]

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> RawSample:
        return self.source[self.indices[index]]


def list_images(folder: Path, stem_prefix: str = "") -> dict[str, list[Path]]:
    """Image files of a folder by stem, several where formats compete; hidden files (macOS `._x.jpg`) are no images."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in EXTENSIONS and path.name.startswith(stem_prefix) and not path.name.startswith("."):
            found.setdefault(path.stem, []).append(path)
    return found
