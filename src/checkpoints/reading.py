"""Find a checkpoint and read it: plain values and tensors, whoever wrote it."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

from src.checkpoints.released import released_checkpoint
from src.checkpoints.torch_file import read_torch_file
from src.checkpoints.upgrade import upgrade_config, upgrade_state
from src.checkpoints.weights_file import SUFFIX, read_exported
from src.utils.errors import UserError
from src.utils.launch import global_rank

RESUMABLE = ("last.ckpt", "step.ckpt")
"""Of the end of an epoch and of its middle: a training goes on from these as if it had never stopped."""


def resolve_checkpoint(ckpt_path: str | None, output_dir: str | Path) -> Path | None:
    """The file that ``ckpt_path`` means: None, a file, or ``last``: the newest whole checkpoint of ``output_dir``.

    ``last`` takes one of ``RESUMABLE`` where one is whole, and warns of every broken file that it passes over.

    Raises:
        UserError: there is no such file; the message names what was looked for.
    """
    if ckpt_path is None:
        return None
    if ckpt_path == "last":
        folder = Path(output_dir) / "checkpoints"
        for path in sorted(folder.glob("*.ckpt"), key=lambda p: (p.name in RESUMABLE, p.stat().st_mtime_ns), reverse=True):
            problem = _damage(path)
            if problem is None:
                return path
            if global_rank() == 0:
                warnings.warn(f"ckpt_path=last: {path} is broken ({problem}); the one before it is taken", stacklevel=2)
        raise UserError(f"ckpt_path=last: no whole checkpoint in {folder}; name the run with paths.output_dir=FOLDER")
    path = Path(ckpt_path)
    if not path.is_file():
        raise UserError(f"ckpt_path: no file {path}")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's plain values and tensors, on the CPU; of weights alone ``state_dict`` and ``config``.

    Weights alone are what `scripts.export_weights` wrote, and the authors' own files (:mod:`src.checkpoints.released`). The
    configuration of an older file comes as this version would have written it (:mod:`src.checkpoints.upgrade`).

    Raises:
        UserError: not a checkpoint, cut short, one that neither this project nor the authors of RUN wrote, or one whose settings no
            longer exist.
    """
    checkpoint = read_exported(path) if path.suffix == SUFFIX else _read_pickled(path)
    try:
        config = upgrade_config(checkpoint["config"])
    except UserError as error:
        raise UserError(f"ckpt_path: {path}: {error}") from error
    return checkpoint | {"config": config, "state_dict": upgrade_state(checkpoint["state_dict"], config)}


def _read_pickled(path: Path) -> dict[str, Any]:
    checkpoint = read_torch_file(path)
    if not isinstance(checkpoint, dict) or "config" not in checkpoint:
        return released_checkpoint(checkpoint, path)
    if "state_dict" not in checkpoint or not {"model", "data"} <= dict(checkpoint["config"]).keys():
        raise UserError(f"ckpt_path: {path} holds no `state_dict` with its `config`; take a file that src.train wrote")
    return checkpoint


def _damage(path: Path) -> str | None:
    """What is wrong with the file; None if it is whole, to the last bit."""
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
