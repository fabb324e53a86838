"""What ``input=`` of `src.predict` means: a file, a folder, a pattern, a list of files, standard input."""

from __future__ import annotations

import glob
import os
import unicodedata
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from src.data.readers import COMMON, EXTENSIONS
from src.data.sources import LEFTOVERS, count_suffixes
from src.utils.errors import UserError

STANDARD_INPUT = "-"
LIST_SUFFIX = ".txt"
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


@dataclass(frozen=True)
class Source:
    """A picture or a video to segment.

    Attributes:
        name: the name of its outputs, without a suffix; begins with the subfolders in which it was found,
            ``birds/wren``.
        path: its file; None is standard input.
    """

    name: str
    path: Path | None

    @property
    def is_video(self) -> bool:
        """Return whether its suffix is that of a video."""
        return self.path is not None and self.path.suffix.lower() in VIDEO_SUFFIXES


def find_sources(text: str, recursive: bool = False, without: Path | None = None) -> list[Source]:
    """Return the pictures and videos that ``input=`` names.

    Args:
        text: a picture, a video, a folder, a pattern (``photos/**/*.jpg``), a ``.txt`` file with one path per line
            (relative to its own folder; lines that begin with ``#`` are comments), or ``-``.
        recursive: whether to look into a folder's subfolders.
        without: a folder whose files are left out: the output folder, if it is inside the input folder.

    Raises:
        UserError: there is nothing to segment.
    """
    path, without = Path(text), None if without is None else without.resolve()
    if text == STANDARD_INPUT:
        return [Source("stdin", None)]
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        inside = without is not None and path.resolve() in without.parents
        if not recursive:
            _warn_of_subfolders(path, without)
        return _named(path, _readable(found, without if inside else None), f"{path} holds no image", recursive)
    if path.is_file():
        return _listed(path) if path.suffix.lower() == LIST_SUFFIX else [Source(_name(Path(path.name)), path)]
    if glob.has_magic(text):
        folder, pattern = _split_pattern(path)
        found = (folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True))
        return _named(folder, _readable(found, without), f"{text} matches no image", True)
    raise UserError(f"input: there is no file or folder {text}")


def _readable(found: Iterable[Path], without: Path | None) -> list[Path]:
    """Return the pictures and videos among paths, sorted, and warn about other files.

    Hidden files (macOS `._x.jpg`) are left out without a warning.
    """
    suffixes = EXTENSIONS | VIDEO_SUFFIXES
    files = [path for path in found if not path.name.startswith(".") and path.is_file()]
    files = sorted(path for path in files if without is None or without not in path.resolve().parents)
    left_out = [path for path in files if path.suffix.lower() not in suffixes and path.name.lower() not in LEFTOVERS]
    if left_out and len(left_out) < len(files):
        warnings.warn(
            f"input: left out, as they are no pictures or videos that can be read: {count_suffixes(left_out)}",
            stacklevel=2,
        )
    return [path for path in files if path.suffix.lower() in suffixes]


def _warn_of_subfolders(folder: Path, without: Path | None) -> None:
    inside = (
        path for child in folder.iterdir() if child.is_dir() and child.resolve() != without for path in child.rglob("*")
    )
    first = next((path for path in inside if path.suffix.lower() in EXTENSIONS | VIDEO_SUFFIXES), None)
    if first is not None:
        warnings.warn(f"input: subfolders are left out ({first} …); recursive=true includes them", stacklevel=2)


def _named(folder: Path, paths: list[Path], complaint: str, recursive: bool) -> list[Source]:
    if not paths:
        where = "in subfolders too" if recursive else "not in subfolders: recursive=true"
        raise UserError(f"input: {complaint} (looked for {COMMON}, and for .mp4, .mov, .avi, .mkv, .webm; {where})")
    return [Source(_name(path.relative_to(folder)), path) for path in paths]


def _name(path: Path) -> str:
    """Return a path without its suffix, composed (NFC): names written by macOS and other systems are then equal."""
    return unicodedata.normalize("NFC", path.with_suffix("").as_posix())


def _listed(path: Path) -> list[Source]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"input: {path} cannot be read as a list of files ({error})") from error
    names = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    files = [path.parent / name for name in names]
    missing = [str(file) for file in files if not file.is_file()]
    if missing:
        raise UserError(f"input: {path} lists files that do not exist:", missing)
    if not files:
        raise UserError(f"input: {path} lists no file; write one path per line")
    names = [_name(Path(file.name)) for file in files]
    if len(set(names)) < len(names):  # sequences: the same names in several folders
        places = [Path(os.path.abspath(file)) for file in files]
        above = os.path.commonpath([place.parent for place in places])
        names = [_name(place.relative_to(above)) for place in places]
    return [Source(name, file) for name, file in zip(names, files, strict=True)]


def _split_pattern(pattern: Path) -> tuple[Path, str]:
    """Return the folder that a pattern begins with, and the rest; a folder called `[1]` is a folder."""
    parts = pattern.parts
    wild = (i for i, part in enumerate(parts) if glob.has_magic(part) and not Path(*parts[: i + 1]).is_dir())
    first = next(wild, len(parts) - 1)
    return Path(*parts[:first]), str(Path(*parts[first:]))
