"""Weights to share: a safetensors file of half the size of a checkpoint's weights.

The header holds the configuration that rebuilds the network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.data.names import set_names
from src.utils.errors import UserError
from src.utils.revision import FORMAT

if TYPE_CHECKING:  # imported where they are used: reading `SUFFIX` must not import torch
    from torch import Tensor

SUFFIX = ".safetensors"
CARRIED = ("selection",)
"""Keys of the checkpoint itself that are kept: what its weights were selected on."""
KEPT = ("seed", "encoder", "model", "data", "commit", "released", "started_from")
"""Keys of the configuration that are kept; the others are about the machine that trained."""


def export_bytes(checkpoint: Mapping[str, Any], path: Path, exact: bool = False) -> bytes:
    """Return a checkpoint as the bytes of a safetensors file: floats in half precision, everything else unchanged.

    Floats of the authors' files (``released`` in the configuration) stay in single precision where half would change
    them.

    The header holds ``config`` (JSON; without ``data.root``, a path on the training machine) and ``note``: the field's
    sets are for research use, and so is what was trained on them.

    Args:
        checkpoint: plain values and tensors (`checkpoints.read_checkpoint`).
        path: where the checkpoint came from, for messages.
        exact: keep every tensor in single precision that half would change, so that reading gives the same bits.

    Raises:
        UserError: a weight that is not finite in the precision that it is stored in (half: beyond ±65504).
    """
    from safetensors.torch import save

    shorten = _half_if_exact if exact or "released" in checkpoint["config"] else _half
    state = {name: shorten(tensor) for name, tensor in checkpoint["state_dict"].items()}
    broken = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if broken:
        raise UserError(
            f"ckpt_path: {path} cannot be exported; {len(broken)} tensors are not finite in half precision:",
            broken,
            limit=5,
        )
    config = kept_config(checkpoint["config"])
    header = {"config": json.dumps(config), "note": checkpoint.get("note") or licence_note(config)}
    return save(state, header | {key: str(checkpoint[key]) for key in CARRIED if key in checkpoint})


def kept_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a training's configuration that is kept with its weights, without ``data.root``."""
    kept = {key: value for key, value in config.items() if key in KEPT} | {"format": FORMAT}
    return kept | {"data": {key: value for key, value in config["data"].items() if key != "root"}}


def training_sets(config: Mapping[str, Any]) -> list[str]:
    """Return the training sets of a configuration, where a single set may be written without a list.

    >>> training_sets({"data": {"train_sets": "CAMO"}}), training_sets({"data": {}})
    (['CAMO'], [])
    """
    return [*set_names(config["data"].get("train_sets", ()))]


def licence_note(config: Mapping[str, Any]) -> str:
    """Return the terms of a training's weights: those of its data, and of the weights that it started from.

    >>> licence_note({"data": {"train_sets": ["CAMO"]}})
    'research use, trained on CAMO'
    """
    trained_on = "+".join(training_sets(config) or ["synthetic"])
    start = f", starting from weights ({config['started_from']})" if config.get("started_from") else ""
    return f"research use, trained on {trained_on}{start}"


def read_exported(path: Path) -> dict[str, Any]:
    """Return ``state_dict``, ``config`` and ``note`` of an exported file, as a checkpoint has them.

    Floats are in single precision. ``data.root`` is the default of `conf/data`: ``$COS_DATA``, or ``data``.

    Raises:
        UserError: not a whole safetensors file, or not one that `scripts.export_weights` wrote.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            header = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"ckpt_path: {path} cannot be read as safetensors ({str(error)[:160]})") from error
    try:
        config = json.loads(header.get("config", ""))
    except ValueError:
        config = None
    if not isinstance(config, dict) or not {"model", "data"} <= config.keys():
        raise UserError(
            f"ckpt_path: the header of {path} holds no `config`; take a file that scripts.export_weights wrote"
        )
    if "train_sets" in config["data"]:  # the synthetic set has no root
        config["data"]["root"] = os.environ.get("COS_DATA", "data")
    single = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    return {"state_dict": single, "config": config, "note": header.get("note", "")} | {
        key: header[key] for key in CARRIED if key in header
    }


def _half(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor.contiguous()


def _half_if_exact(tensor: Tensor) -> Tensor:
    half = _half(tensor)
    return half if half.to(tensor.dtype).equal(tensor) else tensor.contiguous()
