"""What ``input=`` of `src.predict` means: a file, a folder, a pattern, a list of files, standard input."""

from __future__ import annotations

import glob
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from src.data.readers import EXTENSIONS
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


def find_sources(text: str, recursive: bool = False, without: Path | None = None) -> list[Source]:
    """Return what an ``input=`` names, by name.

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
        return [Source("stdin", None)]
    if path.is_dir():
        found = path.rglob("*") if recursive else path.iterdir()
        inside = without is not None and path.resolve() in without.parents
        return _named(path, _readable(found, without if inside else None), f"{path} holds no image", recursive)
    if path.is_file():
        return _listed(path) if path.suffix.lower() == LIST_SUFFIX else [Source(_name(Path(path.name)), path)]
    if glob.has_magic(text):
        found = (Path(name) for name in glob.glob(text, recursive=True))
        return _named(_fixed_part(path), _readable(found, without), f"{text} matches no image", True)
    raise UserError(f"input: there is no file or folder {text}")


def _readable(found: Iterable[Path], without: Path | None) -> list[Path]:
    """Return the pictures and videos among paths, sorted; hidden files (macOS `._x.jpg`) are none."""
    suffixes = EXTENSIONS | VIDEO_SUFFIXES
    files = [path for path in found if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()]
    return sorted(path for path in files if without is None or without not in path.resolve().parents)


def _named(folder: Path, paths: list[Path], complaint: str, recursive: bool) -> list[Source]:
    if not paths:
        where = "in subfolders too" if recursive else "not in subfolders: recursive=true"
        raise UserError(
            f"input: {complaint} (looked for .jpg, .png, .bmp, .tif, .gif, .webp, .ppm, .mp4, .mov, .avi, .mkv, .webm; {where})"
        )
    return [Source(_name(path.relative_to(folder)), path) for path in paths]


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


def _fixed_part(pattern: Path) -> Path:
    """Return the folder before the first part of a pattern that is one."""
    parts = pattern.parts
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return Path(*parts[:first])
