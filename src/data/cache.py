"""A cache of decoded images: one memory-mapped file per set, so that the second epoch decodes nothing.

A cache file is found by the content of the set's files (and the size, the decoder's version), never by their paths:
changed data get a new one, moved data keep theirs. It is written under another name and then renamed, so that processes
see all of it or nothing. It may be deleted at any time, even while it is read. Layout: samples, an int64 table
(`COLUMNS`) with one row per sample, the number of rows.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import PIL
from rich.markup import escape
from rich.progress import track

from src.cli.command import console
from src.data.readers import read_header
from src.data.sources import FolderPairs, RawSample
from src.data.transforms import resize_image
from src.data.verify.verdicts import fingerprint
from src.utils.cache_dir import cache_dir, keep

VERSION = "2"
COLUMNS = ("offset", "height", "width", "mask_height", "mask_width", "has_valid")
BATCH = 64
STALE_SECONDS = 600
"""A temporary file that has not changed for so long was left by a killed process."""


class Cached:
    """A folder set whose samples come from its cache file if there is one, else from the folders, with the same bits.

    Args:
        source: the set.
        size: images are stored resized to this side, in pixels, and masks at their own size; None: images at their own
            size, too.
    """

    def __init__(self, source: FolderPairs, size: int | None) -> None:
        self.source, self.size = source, size
        self.name = source.name
        self._file: tuple[np.ndarray, np.ndarray] | None = None
        self._looked = False

    @property
    def names(self) -> Sequence[str]:
        """Names of the samples."""
        return self.source.names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> RawSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        if not self._looked:
            self._file, self._looked = self._opened(), True
        return self._prepared(index) if self._file is None else self._stored(*self._file, index)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_looked": False}  # every process maps the file itself

    def build(self, limit: int, taken: int = 0) -> str | None:
        """Write the cache file unless it exists.

        Args:
            limit: bytes that all cache files together may take; the least recently used ones are deleted.
            taken: bytes among them that must not be deleted: the other sets of the same training.

        Returns:
            A note if there is no cache file, because it would be too large or cannot be written; else None.
        """
        path = self._path(content_key(self.source, compute=True))
        try:
            if self._opened() is not None:
                os.utime(path)
                return None
            needed = self._size_estimate()
            path.parent.mkdir(parents=True, exist_ok=True)
            if needed > min(limit - taken, shutil.disk_usage(path.parent).free // 2):
                size = f"{needed / 1e9:.1f} GB"
                return (
                    f"{self.name}: not cached, its images would take {size}, "
                    "more than is left of data.cache_gb or half of the free disk"
                )
            _make_room(path.parent, limit - needed)
            with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".part", delete=False) as file:
                try:
                    self._write(file)
                    file.flush()
                    os.fsync(file.fileno())  # else a power cut may leave a file of the right length with holes in it
                except BaseException:
                    os.unlink(file.name)
                    raise
            os.chmod(file.name, 0o644)  # a cache may be shared; temporary files are private
            os.replace(file.name, path)
        except OSError as error:
            return f"{self.name}: no image cache ({error})"
        self._looked = False
        return None

    def stored_bytes(self) -> int:
        """Return the size of the cache file in bytes; 0 if there is none."""
        opened = self._opened()
        return 0 if opened is None else opened[0].size

    def _prepared(self, index: int) -> RawSample:
        sample = self.source[index]
        return sample if self.size is None else sample._replace(image=resize_image(sample.image, self.size))

    def _path(self, content: str) -> Path:
        kind = f"{VERSION} {PIL.__version__} {self.size} {self.source.shrink_to} {self.source.ignore} {content}"
        return cache_dir() / "images" / f"{hashlib.sha256(kind.encode()).hexdigest()}.bin"

    def _size_estimate(self) -> int:
        total = 0
        for name in self.names:
            width, height = read_header(self.source.paths(name)[0]).size
            total += (height * width if self.size is None else self.size**2) * 3 + height * width // 8 * (
                1 if self.source.ignore is None and not self.source.valid else 2
            )
        return total

    def _write(self, file: IO[bytes]) -> None:
        rows = []
        for sample in self._decoded():
            image, masks = sample.image, [sample.mask] + ([] if sample.valid is None else [sample.valid])
            rows.append((file.tell(), *image.shape[:2], *sample.mask.shape, sample.valid is not None))
            file.write(np.ascontiguousarray(image).data)
            for mask in masks:
                file.write(np.packbits(mask).data)
        file.write(bytes(-file.tell() % 8))
        file.write(np.array(rows, np.int64).tobytes())
        file.write(np.array([len(rows)], np.int64).tobytes())

    def _decoded(self) -> Iterator[RawSample]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in track(
                range(0, len(self), BATCH), f"Caching {escape(self.name)}", console=console(), transient=True
            ):
                yield from pool.map(self._prepared, range(start, min(start + BATCH, len(self))))

    def _opened(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Return the mapped bytes and the table; None if there is no whole file."""
        content = content_key(self.source, compute=False)
        if content is None:
            return None
        try:
            content_bytes = np.memmap(self._path(content), np.uint8, "r")
        except (OSError, ValueError):
            return None
        count = int(content_bytes[-8:].view(np.int64)[0])
        table_bytes = count * len(COLUMNS) * 8
        if count != len(self) or table_bytes + 8 > content_bytes.size:
            return None
        return content_bytes, np.array(content_bytes[-8 - table_bytes : -8]).view(np.int64).reshape(count, len(COLUMNS))

    def _stored(self, content: np.ndarray, table: np.ndarray, index: int) -> RawSample:
        offset, height, width, mask_height, mask_width, has_valid = (int(value) for value in table[index])
        end = offset + height * width * 3
        image = np.array(content[offset:end]).reshape(height, width, 3)
        masks = []
        for _ in range(1 + has_valid):
            pixels = mask_height * mask_width
            bits = np.unpackbits(content[end : end + -(-pixels // 8)], count=pixels)
            masks.append(bits.view(bool).reshape(mask_height, mask_width))
            end += -(-pixels // 8)
        return RawSample(image, masks[0], self.names[index], masks[1] if has_valid else None)


def content_key(pairs: FolderPairs, compute: bool) -> Any:
    """Return a digest of the names and bytes of a set's files; it is remembered until a file changes.

    Args:
        pairs: the set.
        compute: False returns None if the digest isn't known yet.
    """
    memo = cache_dir() / "contents" / fingerprint(pairs)
    try:
        return memo.read_text()
    except OSError:
        if not compute:
            return None
    digest = hashlib.blake2b(digest_size=32)
    for name in pairs.names:
        digest.update(f"{name}\0".encode())
        for path in (*pairs.paths(name), pairs.valid_path(name)):
            if path is not None:
                digest.update(hashlib.blake2b(path.read_bytes()).digest())
    keep(memo, digest.hexdigest().encode())
    return digest.hexdigest()


def _make_room(folder: Path, limit: int) -> None:
    """Delete leftovers of killed processes, and the least recently used files until the rest fits `limit` bytes."""
    for changed, _, part in _by_age(folder, ".*.part"):
        if time.time() - changed > STALE_SECONDS:
            part.unlink(missing_ok=True)
    kept = 0
    for _, size, file in _by_age(folder, f"{'[0-9a-f]' * 64}.bin"):
        kept += size
        if kept > limit:
            file.unlink(missing_ok=True)


def _by_age(folder: Path, pattern: str) -> list[tuple[float, int, Path]]:
    """Return time of change, bytes and path, the newest first; other processes may delete and rename meanwhile."""
    found = []
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            found.append((path.stat().st_mtime, path.stat().st_size, path))
    return sorted(found, reverse=True)
