"""Read a checkpoint of this project or of the authors: plain values and tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.checkpoints.released import released_checkpoint
from src.checkpoints.torch_file import is_ours, read_torch_file
from src.checkpoints.upgrade import upgrade_config, upgrade_state
from src.checkpoints.weights_file import SUFFIX, read_exported
from src.utils.errors import UserError


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint's plain values and tensors, on the CPU.

    Files that hold weights alone give ``state_dict``, ``config`` and ``note``: what `scripts.export_weights` wrote, and
    the authors' own files (:mod:`src.checkpoints.released`). The configuration of an older file is returned as this
    version would have written it (:mod:`src.checkpoints.upgrade`).

    Raises:
        UserError: the file is not a checkpoint, is cut short, was written neither by this project nor by the authors of
            RUN, or has settings that no longer exist.
    """
    checkpoint = read_exported(path) if path.suffix == SUFFIX else _read_pickled(path)
    try:
        config = upgrade_config(checkpoint["config"])
    except UserError as error:
        raise UserError(f"ckpt_path: {path}: {error}") from error
    return checkpoint | {"config": config, "state_dict": upgrade_state(checkpoint["state_dict"], config)}


def _read_pickled(path: Path) -> dict[str, Any]:
    content = read_torch_file(path)
    return content if is_ours(content) else released_checkpoint(content, path)
