"""Archives from elsewhere: unpacked whole and safely into a new folder, or not at all."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from src.data.verify.findings import UNPRINTABLE, one_line
from src.utils.errors import UserError

RECEIPT = ".fetched.json"
"""File in every folder made here that says what the folder was made from."""
MAX_ENTRIES = 1_000_000
MAX_RATIO, ALWAYS_ALLOWED = 100, 64 << 20
"""An archive may grow a hundredfold, and to 64 MiB in any case. Images hardly compress; blank bitmap masks do."""
MAX_HEADER = 1 << 20
"""Bytes of a tar file allowed between the contents of two files: a name of gigabytes would fill the memory."""
_BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    ValueError,
    OverflowError,
    RuntimeError,
)
"""Raised by the standard library for what it cannot read: unknown methods, impossible numbers, nested headers."""


@dataclass(frozen=True)
class Entry:
    """A file (with its content, opened) or a folder (None) of an archive, under its stored name.

    `size`: bytes, as declared by the archive.
    """

    name: str
    size: int
    content: IO[bytes] | None


def unpack(archive: Path, target: Path, receipt: dict[str, Any]) -> int:
    """Unpack a zip or tar (.gz, .bz2, .xz) into the new folder `target`.

    The archive is unpacked into a folder beside `target`, which is renamed to `target` at the end; after an error
    nothing is left. A single folder around everything is removed, and so is macOS's `__MACOSX`.

    Args:
        archive: the file.
        target: the folder to make.
        receipt: stored in the folder as `RECEIPT`.

    Returns:
        The number of files.

    Raises:
        UserError: no such archive, damaged, or with anything but files and folders strictly inside: absolute names,
            `..`, backslashes, drive letters, unreadable names, duplicate names, links, devices, zip bombs. Also a full
            disk.
    """
    around = target.parent / f".{target.name}.unpacking"
    made = [folder for folder in (target.parent, *target.parent.parents) if not folder.exists()]
    try:
        shutil.rmtree(around, ignore_errors=True)  # left by a killed run
        around.mkdir(parents=True)
        count = _extract(archive, around)
        inside = list(around.iterdir())
        whole = inside[0] if len(inside) == 1 and inside[0].is_dir() else around
        with (whole / RECEIPT).open("x", encoding="utf-8") as file:
            json.dump({**receipt, "files": count}, file)
        os.replace(whole, target)  # fails if a non-empty folder has appeared there meanwhile
    except UserError:
        raise
    except (*_BROKEN, OSError) as error:
        raise UserError(
            f"{archive}: cannot be unpacked to {target} ({one_line(str(error)) or type(error).__name__})"
        ) from error
    finally:
        shutil.rmtree(around, ignore_errors=True)
        with suppress(OSError):  # up to the first that isn't empty
            for folder in made:
                folder.rmdir()
    return count


def receipt_of(folder: Path) -> dict[str, Any]:
    """Return what `folder` was made from; empty if it wasn't made here."""
    try:
        found = json.loads((folder / RECEIPT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _extract(archive: Path, folder: Path) -> int:
    packed = archive.stat().st_size
    limit, written, count = max(ALWAYS_ALLOWED, MAX_RATIO * packed), 0, 0
    with _entries(archive) as entries:
        for number, entry in enumerate(entries):
            path = folder / _inside(archive, entry.name)
            if number >= MAX_ENTRIES:
                raise UserError(f"{archive}: refused: more than {MAX_ENTRIES} entries")
            if written + entry.size > limit:
                raise UserError(
                    f"{archive}: refused: {packed} bytes would become more than {limit} "
                    "(a bomb, or pack it less tightly)"
                )
            if path.relative_to(folder).parts[:1] == ("__MACOSX",):
                continue
            try:
                (path if entry.content is None else path.parent).mkdir(parents=True, exist_ok=True)
                if entry.content is not None:
                    with path.open("xb") as file:
                        shutil.copyfileobj(entry.content, file, 1 << 20)
                        size = file.tell()
            except (FileExistsError, NotADirectoryError) as error:
                raise UserError(f"{archive}: refused: {one_line(entry.name)} appears twice") from error
            if entry.content is not None:
                if size != entry.size:
                    raise UserError(
                        f"{archive}: {one_line(entry.name)} has {size} bytes, {entry.size} are declared: damaged"
                    )
                written, count = written + size, count + 1
    if not count:
        raise UserError(f"{archive}: no files in it")
    return count


def _inside(archive: Path, name: str) -> Path:
    """Return the relative path that a name means; `./a//b` is `a/b`."""
    parts = name.split("/")
    wrong = {
        "is an absolute path": name.startswith("/"),
        "leads out of the folder": ".." in parts,
        "has a backslash": "\\" in name,
        "has a drive letter": re.match(r"[A-Za-z]:", name) is not None,
        "has control characters or is no UTF-8": UNPRINTABLE.search(name) is not None,
    }
    for what, so in wrong.items():
        if so:
            raise UserError(f"{archive}: refused: the name {one_line(name)!r} {what}")
    return Path(*(part for part in parts if part not in ("", ".")))


@contextmanager
def _entries(archive: Path) -> Iterator[Iterator[Entry]]:
    with archive.open("rb") as file:
        head = file.read(512)
        file.seek(0)
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with zipfile.ZipFile(file) as packed:
                yield _zip_entries(archive, packed)
            return
        stream: Any = file
        for magic, opener in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ\x00", lzma.open)):
            if head.startswith(magic):
                stream = opener(file, "rb")
        with closing(stream):
            beginning = stream.read(512)
            if beginning[257:262] != b"ustar":
                raise UserError(f"{archive}: neither a zip nor a tar archive (.gz, .bz2, .xz)")
            stream.seek(0)
            guarded = _Guarded(archive, stream)
            with tarfile.open(fileobj=guarded, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                yield _tar_entries(archive, tar, guarded)


def _zip_entries(archive: Path, packed: zipfile.ZipFile) -> Iterator[Entry]:
    for info in packed.infolist():
        name, kind = _zip_name(archive, info), stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise UserError(f"{archive}: refused: {one_line(name)} is a link or a device")
        if info.flag_bits & 1:
            raise UserError(f"{archive}: {one_line(name)} needs a password; unpack it by hand")
        if name.endswith("/"):
            yield Entry(name, 0, None)
        else:
            with packed.open(info) as content:
                yield Entry(name, info.file_size, content)


def _zip_name(archive: Path, info: zipfile.ZipInfo) -> str:
    """Return an entry's name, decoded.

    `ZipInfo.filename` is cut at a zero byte. Many programs write UTF-8 without saying so; zipfile reads it as code page
    437.
    """
    name = info.orig_filename
    if info.flag_bits & 0x800 or name.isascii():
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError as error:
        raise UserError(f"{archive}: refused: the name {one_line(name)!r} is no UTF-8") from error


def _tar_entries(archive: Path, tar: tarfile.TarFile, guarded: _Guarded) -> Iterator[Entry]:
    while True:
        guarded.allow(MAX_HEADER)
        info = tar.next()
        if info is None:
            return
        tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise UserError(f"{archive}: refused: {one_line(info.name)} is a link, a device or a sparse file")
        guarded.allow(info.size + MAX_HEADER)
        yield Entry(info.name, info.size if info.isreg() else 0, tar.extractfile(info) if info.isreg() else None)


class _Guarded(io.RawIOBase):
    """A stream that gives no more bytes than allowed."""

    def __init__(self, archive: Path, stream: IO[bytes]) -> None:
        self.archive, self.stream, self.allowed = archive, stream, MAX_HEADER

    def allow(self, count: int) -> None:
        """Allow `count` bytes from here."""
        self.allowed = count

    def read(self, size: int = -1) -> bytes:
        """Read bytes; raise a UserError if that is more than allowed."""
        chunk = self.stream.read(size)
        self.allowed -= len(chunk)
        if self.allowed < 0:
            raise UserError(f"{self.archive}: refused: a header of more than {MAX_HEADER} bytes")
        return chunk
