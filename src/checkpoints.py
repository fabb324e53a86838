"""Checkpoints: finding them, and rebuilding a network from nothing but its file."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import OmegaConf

from src.exported import SUFFIX, read_exported
from src.module import COSModule
from src.utils.errors import UserError

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
            rank_zero_warn(f"ckpt_path=last: {path} is broken ({problem}); the one before it is taken")
        raise UserError(f"ckpt_path=last: no whole checkpoint in {folder}; name the run with paths.output_dir=FOLDER")
    path = Path(ckpt_path)
    if not path.is_file():
        raise UserError(f"ckpt_path: no file {path}")
    return path


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's plain values and tensors (``weights_only=True``), on the CPU; of exported weights ``state_dict`` and ``config``.

    Raises:
        UserError: not a checkpoint, cut short, or one that this project did not write.
    """
    if path.suffix == SUFFIX:
        return read_exported(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle can raise anything
        reason = f"{type(error).__name__}: {str(error)[:160]}".splitlines()[0]
        raise UserError(f"ckpt_path: {path} cannot be read as a checkpoint ({reason})") from error
    is_ours = isinstance(checkpoint, dict) and "state_dict" in checkpoint
    if not is_ours or not {"model", "data"} <= dict(checkpoint.get("config", {})).keys():
        raise UserError(f"ckpt_path: {path} holds no `state_dict` with its `config`; take a file that src.train wrote")
    return checkpoint


def rebuild(checkpoint: dict[str, Any], path: Path, metrics: dict[str, Any] | None = None) -> COSModule:
    """The module of a checkpoint: its network from its own configuration, its weights, no download.

    Args:
        metrics: overrides of the configuration's ``metrics``.

    Raises:
        UserError: the weights do not fit the network that the configuration describes.
    """
    config = checkpoint["config"]
    model = OmegaConf.create(config["model"])
    model.net.encoder.weights = None  # the checkpoint holds them
    model.metrics = OmegaConf.merge(model.metrics, metrics or {})
    module: COSModule = instantiate(model)
    check_fits(module, checkpoint, path)
    module.load_state_dict(checkpoint["state_dict"])
    module.config = config
    return module


def check_fits(module: COSModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a UserError if the checkpoint's weights belong to another architecture: the settings and the parts that differ."""
    own, stored = module.state_dict(), checkpoint["state_dict"]
    shapes = [{key: tuple(value.shape) for key, value in state.items()} for state in (own, stored)]
    differing = [key for key in {**own, **stored} if shapes[0].get(key) != shapes[1].get(key)]
    if not differing:
        return
    parts = Counter(".".join(key.split(".")[:2]) for key in differing)
    there, here = (_flat(config.get("model", {}).get("net", {}), "model.net") for config in (checkpoint["config"], module.config))
    settings = [f"{key}={there[key]} there, {here[key]} here" for key in there if key in here and there[key] != here[key]]
    why = f"; {', '.join(settings)}" if settings else ""
    names = ", ".join(f"{part} ({count})" for part, count in parts.items())
    raise UserError(f"ckpt_path: {path} belongs to another architecture{why}; tensors that differ: {names}")


def check_epochs(max_epochs: int | None, checkpoint: dict[str, Any], path: Path) -> None:
    """Raise a UserError if the checkpoint is of more epochs than a training that goes on from it shall have."""
    done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if max_epochs is not None and 0 <= max_epochs < done:
        raise UserError(
            f"trainer.max_epochs={max_epochs}: {path} has seen {done} epochs already; take at least {done}, or train=false to test it"
        )


def _flat(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Dotted key → value of a plain nested configuration; of the network's own class and settings, not where weights come from."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}.{name}"
        flat |= _flat(value, key) if isinstance(value, Mapping) else {} if name == "weights" else {key: value}
    return flat


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
