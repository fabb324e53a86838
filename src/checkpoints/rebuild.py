"""Checkpoints: finding them, and rebuilding a network from nothing but its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.module import COSModule
from src.utils.errors import UserError


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
