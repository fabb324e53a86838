"""Find the checkpoint that `ckpt_path` means. Nothing is imported that imports torch: a file that is missing is reported at once."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

from omegaconf import DictConfig

from src.utils.errors import UserError
from src.utils.launch import global_rank

RESUMABLE = ("last.ckpt", "step.ckpt")
"""Of the end of an epoch and of its middle: a training resumed from these is the one that never stopped."""


def check_ckpt_path(cfg: DictConfig) -> None:
    """Raise a UserError where ``cfg.ckpt_path`` names a file, or ``last`` a folder's checkpoints, and there is none; nothing is read."""
    if cfg.ckpt_path is not None:
        _candidates(cfg.ckpt_path, cfg.paths.output_dir)


def resolve_checkpoint(ckpt_path: str | None, output_dir: str | Path) -> Path | None:
    """The file that ``ckpt_path`` means: None, a file, or ``last``: the newest whole checkpoint of ``output_dir``.

    ``last`` takes one of ``RESUMABLE`` where one is whole, and warns of every broken file that it passes over.

    Raises:
        UserError: there is no such file; the message names what was looked for.
    """
    if ckpt_path is None:
        return None
    candidates = _candidates(ckpt_path, output_dir)
    if ckpt_path != "last":
        return candidates[0]
    for path in candidates:
        problem = _damage(path)
        if problem is None:
            return path
        if global_rank() == 0:
            warnings.warn(f"ckpt_path=last: {path} is broken ({problem}); the one before it is taken", stacklevel=2)
    raise _none_whole(output_dir)


def _candidates(ckpt_path: str, output_dir: str | Path) -> list[Path]:
    """The files that ``ckpt_path`` may mean, the best first; a UserError if there is none."""
    if ckpt_path == "last":
        found = (Path(output_dir) / "checkpoints").glob("*.ckpt")
        newest_first = sorted(found, key=lambda path: (path.name in RESUMABLE, path.stat().st_mtime_ns), reverse=True)
        if not newest_first:
            raise _none_whole(output_dir)
        return newest_first
    path = Path(ckpt_path)
    if not path.is_file():
        raise UserError(f"ckpt_path: no file {path}")
    return [path]


def _none_whole(output_dir: str | Path) -> UserError:
    folder = Path(output_dir) / "checkpoints"
    return UserError(f"ckpt_path=last: no whole checkpoint in {folder}; name the run with paths.output_dir=FOLDER")


def _damage(path: Path) -> str | None:
    """What is wrong with the file; None if it is whole, to the last bit."""
    from src.checkpoints.reading import read_checkpoint

    try:
        with zipfile.ZipFile(path) as archive:  # torch reads without looking at the checksums
            damaged = archive.testzip()
        if damaged is not None:
            return f"checksum of {damaged}"
        read_checkpoint(path)
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    except UserError as error:
        return str(error).removeprefix(f"ckpt_path: {path} ")
    return None
