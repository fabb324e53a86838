"""What ``input=`` of `src.predict` means: a file, a folder, a pattern, a list of files, standard input."""

from __future__ import annotations

import glob
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from src.data.readers import EXTENSIONS, USUAL
from src.data.sources import LEFTOVERS, count_suffixes
from src.utils.errors import UserError

STANDARD_INPUT = "-"
LIST_SUFFIX = ".txt"
VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"})


@dataclass(frozen=True)
class Source:
    """A picture or a video to be segmented.

    Attributes:
        name: what its outputs are called, without a suffix; with the subfolders in which it was found, ``birds/wren``.
        path: its file; None is standard input.
    """

    name: str
    path: Path | None

    @property
    def is_video(self) -> bool:
        """Whether its suffix is that of a video."""
        return self.path is not None and self.path.suffix.lower() in VIDEO_SUFFIXES


@dataclass(frozen=True)
class Found:
    """What an ``input=`` names.

    Attributes:
        sources: pictures and videos, by name.
        left_out: files of the folder, or of the pattern, that are neither.
    """

    sources: list[Source]
    left_out: list[Path] = field(default_factory=list)


def find_sources(text: str, recursive: bool = False, without: Path | None = None) -> Found:
    """Return what an ``input=`` names.

    Args:
        text: a picture, a video, a folder, a pattern (``photos/**/*.jpg``), a ``.txt`` file with one path per line (relative to its own
            folder; lines that begin with ``#`` are comments), or ``-``.
        recursive: look into a folder's subfolders.
        without: a folder whose files are left out: the output's, where it is inside the input's.

    Raises:
        UserError: nothing is there.
    """
    path, without = Path(text), None if without is None else without.resolve()
    if text == STANDARD_INPUT:
        return Found([Source("stdin", None)])
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        inside = without is not None and path.resolve() in without.parents
        return _named(path, _files(found, without if inside else None), f"{path} holds no image", recursive)
    if path.is_file():
        return Found(_listed(path) if path.suffix.lower() == LIST_SUFFIX else [Source(_name(Path(path.name)), path)])
    if "," in text and not glob.glob(text):
        raise UserError(f"input: there is no file {text}; several pictures are a folder, a pattern, or a .txt file with one path per line")
    if glob.has_magic(text):
        folder, pattern = _fixed_part(path)
        found = (folder / name for name in glob.glob(pattern, root_dir=folder, recursive=True))
        return _named(folder, _files(found, without), f"{text} matches no image", True)
    raise UserError(f"input: there is no file or folder {text}")


def _files(found: Iterable[Path], without: Path | None) -> list[Path]:
    """Return the files among paths, sorted; hidden ones (macOS `._x.jpg`) and leftovers of file managers are none."""
    files = [path for path in found if not path.name.startswith(".") and path.name.lower() not in LEFTOVERS and path.is_file()]
    return sorted(path for path in files if without is None or without not in path.resolve().parents)


def _named(folder: Path, files: list[Path], complaint: str, recursive: bool) -> Found:
    suffixes = EXTENSIONS | VIDEO_SUFFIXES
    paths = [path for path in files if path.suffix.lower() in suffixes]
    left_out = [path for path in files if path.suffix.lower() not in suffixes]
    if not paths:
        where = "in subfolders too" if recursive else "not in subfolders: recursive=true"
        there = f"; there are {count_suffixes(left_out)}" if left_out else ""
        raise UserError(f"input: {complaint} (looked for {USUAL} …, .mp4 .mov .avi .mkv .webm …; {where}){there}")
    return Found([Source(_name(path.relative_to(folder)), path) for path in paths], left_out)


def _name(path: Path) -> str:
    """Return a path without its suffix, composed (NFC), so that names written by macOS and by other systems meet."""
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
    return [Source(_name(Path(file.name)), file) for file in files]


def _fixed_part(pattern: Path) -> tuple[Path, str]:
    """Return the folder that a pattern begins with, and the rest; a folder whose name could be a pattern, `[1]`, is a folder."""
    parts = pattern.parts
    first = next((i for i, part in enumerate(parts) if glob.has_magic(part) and not Path(*parts[: i + 1]).is_dir()), len(parts) - 1)
    return Path(*parts[:first]), str(Path(*parts[first:]))
