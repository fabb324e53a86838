"""Make the network of a checkpoint or of exported weights: without Lightning, Hydra or torchmetrics."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from src.checkpoints.reading import read_checkpoint
from src.checkpoints.released import RELEASED
from src.models.variant import AS_TRAINED, Variant
from src.models.wrappers import apply_variant, memory_format
from src.utils.errors import UserError

PREFIX = "net."
"""Prefix of the network's tensor names in a checkpoint."""


def load_network(path: Path, variant: Variant = AS_TRAINED) -> tuple[nn.Module, dict[str, Any]]:
    """Read a file and make its network.

    Args:
        path: a checkpoint that `src.train` wrote, or weights that `scripts.export_weights` wrote.
        variant: how it is evaluated, e.g. ``Variant(rounds=2)``.

    Returns:
        The network with its trained weights, in evaluation mode on the CPU, and the configuration of its training.

    Raises:
        UserError: the file cannot be read, or its weights do not fit its configuration.
    """
    checkpoint = read_checkpoint(path)
    return make_network(checkpoint, path, variant).eval(), checkpoint["config"]


def make_network(checkpoint: Mapping[str, Any], path: Path, variant: Variant = AS_TRAINED) -> nn.Module:
    """Make the network of what :func:`read_checkpoint` has read; the file holds all weights, so nothing is downloaded.

    Args:
        checkpoint: ``state_dict`` and ``config``.
        path: where it came from, for messages.
        variant: how it is evaluated.

    Raises:
        UserError: settings that this version does not have, weights of another architecture, or a variant that the
            network does not support.
    """
    try:  # the released networks compute nothing when they are made, so they need no random weights
        with torch.device("meta") if RELEASED in checkpoint["config"] else nullcontext():
            net = untrained_network(checkpoint["config"], variant)
    except UserError as error:
        raise UserError(f"ckpt_path: {path}: {error}") from error
    own = {f"{PREFIX}{name}": value for name, value in net.state_dict().items()}
    check_weights(own, {}, checkpoint, path)
    stored = {name.removeprefix(PREFIX): value.to(own[name].dtype) for name, value in checkpoint["state_dict"].items()}
    net.load_state_dict(stored, assign=True)
    return apply_variant(net.to(memory_format=memory_format(net)), variant)


def untrained_network(config: Mapping[str, Any], variant: Variant = AS_TRAINED) -> nn.Module:
    """Make the network of a configuration with random weights; nothing is downloaded.

    Args:
        config: a plain configuration of this version (:func:`src.checkpoints.upgrade.upgrade_config`).
        variant: only its closing step is used, where the network has one.

    Raises:
        UserError: settings that this version does not have.
    """
    settings = config["model"]["net"]
    settings = settings | {"encoder": settings["encoder"] | {"weights": None}}
    if variant.closing_step is not None and "closing_step" in inspect.signature(_find(settings["_target_"])).parameters:
        settings["closing_step"] = variant.closing_step
    net: nn.Module = build(settings)
    return net.to(memory_format=memory_format(net))


def build(node: Any) -> Any:
    """Make the object that a plain configuration describes, as `hydra.utils.instantiate` does.

    ``_target_``, ``_partial_`` and nested nodes are supported.

    Raises:
        UserError: a target that does not exist, or settings that it does not take, each named with its value.
    """
    if isinstance(node, list):
        return [build(element) for element in node]
    if not isinstance(node, Mapping):
        return node
    settings = {name: build(value) for name, value in node.items() if not name.startswith("_")}
    if "_target_" not in node:
        return settings
    target = _find(node["_target_"])
    taken = inspect.signature(target).parameters
    if unknown := [f"{name}={value}" for name, value in settings.items() if name not in taken]:
        raise UserError(f"{node['_target_']} has no setting {', '.join(unknown)}")
    return functools.partial(target, **settings) if node.get("_partial_") else target(**settings)


def check_weights(
    own: Mapping[str, Tensor], own_config: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path
) -> None:
    """Check that a checkpoint's weights belong to an architecture.

    Args:
        own: the weights to be replaced, by their names in a checkpoint.
        own_config: the configuration that they were made from; empty if it is the checkpoint's.
        checkpoint: ``state_dict`` and ``config``.
        path: where it came from, for messages.

    Raises:
        UserError: they belong to another one; the message names the settings and the parts that differ.
    """
    stored = checkpoint["state_dict"]
    shapes = [{key: tuple(value.shape) for key, value in state.items()} for state in (own, stored)]
    differing = [key for key in {**own, **stored} if shapes[0].get(key) != shapes[1].get(key)]
    if not differing:
        return
    parts = Counter(".".join(key.split(".")[:2]) for key in differing)
    there, here = (
        flat_settings(config.get("model", {}).get("net", {}), "model.net")
        for config in (checkpoint["config"], own_config)
    )
    settings = [
        f"{key}={there[key]} there, {here[key]} here" for key in there if key in here and there[key] != here[key]
    ]
    why = f"; {', '.join(settings)}" if settings else ""
    names = ", ".join(f"{part} ({count})" for part, count in parts.items())
    raise UserError(f"ckpt_path: {path} belongs to another architecture{why}; tensors that differ: {names}")


def _find(target: str) -> Any:
    """Return the class or function that a dotted path names."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"there is no {target} ({error})") from error


def flat_settings(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return dotted key → value of a plain nested configuration.

    Settings named ``weights`` are left out: they say where weights come from, not what the network is.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}.{name}"
        flat |= flat_settings(value, key) if isinstance(value, Mapping) else {} if name == "weights" else {key: value}
    return flat
