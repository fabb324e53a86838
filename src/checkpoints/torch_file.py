"""Read a file of torch.save: plain values and tensors, mapped into memory where the format allows."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch

from src.utils.errors import UserError


def is_ours(content: Any) -> bool:
    """Return whether this is what `src.train` stores: weights with the configuration of their training."""
    config = content.get("config") if isinstance(content, dict) else None
    return isinstance(config, dict) and {"model", "data"} <= config.keys() and "state_dict" in content


def read_torch_file(path: Path) -> Any:
    """Return what the file holds, tensors on the CPU (``weights_only=True``: nothing in the file is executed).

    Tensors of a zip file, torch's format since 1.6, are memory-mapped: their bytes are read on first use and held once.

    Raises:
        UserError: the file was not written by torch.save, is cut short, or holds pickled objects.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except Exception as error:  # bytes that are not a pickle can raise anything
        reason = f"{type(error).__name__}: {str(error)[:160]}".splitlines()[0]
        raise UserError(f"ckpt_path: {path} cannot be read as a checkpoint ({reason})") from error
