"""Find the checkpoint that `ckpt_path` means.

Nothing imported here imports torch, so that a missing file is reported at once.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.shipped import no_network, path_of
from src.utils.errors import UserError
from src.utils.launch import global_rank

RESUMABLE = ("last.ckpt", "step.ckpt")
"""Written at the end of an epoch and in its middle: a training resumed from them equals an uninterrupted one."""


def check_ckpt_path(cfg: DictConfig) -> None:
    """Check that the checkpoint of ``cfg.ckpt_path`` exists; nothing is read.

    Raises:
        UserError: ``ckpt_path`` names a missing file, or is ``last`` and the output folder holds no checkpoint.
    """
    if cfg.ckpt_path is not None:
        _candidates(cfg.ckpt_path, cfg.paths.output_dir)


def resolve_checkpoint(ckpt_path: str | None, output_dir: str | Path) -> Path | None:
    """Return the file that ``ckpt_path`` means.

    Args:
        ckpt_path: None, a file, the name of a shipped network, or ``last``: the newest intact checkpoint of
            ``output_dir``. ``last`` prefers `RESUMABLE` files, and warns of every broken file that it skips.
        output_dir: the run folder.

    Returns:
        The file; None without a ``ckpt_path``.

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
    """Return the files that ``ckpt_path`` may mean, the best first; raise a UserError if there is none."""
    if ckpt_path == "last":
        found = (Path(output_dir) / "checkpoints").glob("*.ckpt")
        newest_first = sorted(found, key=lambda path: (path.name in RESUMABLE, path.stat().st_mtime_ns), reverse=True)
        if not newest_first:
            raise _none_whole(output_dir)
        return newest_first
    path = path_of(ckpt_path)
    if not path.is_file():
        raise UserError(f"ckpt_path: {no_network(path)}")
    return [path]


def _none_whole(output_dir: str | Path) -> UserError:
    folder = Path(output_dir) / "checkpoints"
    return UserError(f"ckpt_path=last: no whole checkpoint in {folder}; name the run with paths.output_dir=FOLDER")


def _damage(path: Path) -> str | None:
    """Return what is wrong with the file; None if every byte of it is intact."""
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
