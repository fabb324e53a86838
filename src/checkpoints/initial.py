"""Start a training from the weights of a file: load them into the configured network, or say why they do not fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from src.checkpoints.network import PREFIX, flat_settings
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.weights_file import licence_note
from src.utils.errors import UserError

ENCODER = f"{PREFIX}encoder."


def read_initial(path: Path) -> dict[str, Any]:
    """Read a file for ``init=``: what :func:`src.checkpoints.reading.read_checkpoint` reads, older files included.

    Raises:
        UserError: as there, with ``init`` in place of ``ckpt_path`` in the message.
    """
    try:
        return read_checkpoint(path)
    except UserError as error:
        raise UserError(str(error).replace("ckpt_path:", "init:", 1)) from error


def take_weights(
    net: nn.Module, config: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path, strict: bool = True
) -> list[str]:
    """Load the weights of a file into a network: all, or if not ``strict`` those of the same name and shape.

    Args:
        net: the network that will train; its weights are replaced in place.
        config: the configuration that the network was made from, to report settings that differ.
        checkpoint: what :func:`read_initial` returned.
        path: where it came from, for messages.
        strict: whether every tensor of both sides must have its counterpart.

    Returns:
        One line per tensor, or whole part, of either side without a counterpart; empty if all fit.

    Raises:
        UserError: with ``strict``, any mismatch (all are listed); otherwise, no tensor fits.
    """
    own, stored = net.state_dict(), _of_network(checkpoint["state_dict"])
    fitting = {name: value for name, value in stored.items() if name in own and own[name].shape == value.shape}
    rest = _mismatches(own, stored)
    if rest and strict:
        lines = [*differing_settings(config, checkpoint["config"]), *rest]
        way_out = "init_strict=false takes what fits" if fitting else "choose the architecture of the file"
        raise UserError(f"init: the weights of {path} do not fit this network; {way_out}:", lines, limit=len(lines))
    if not fitting:
        raise UserError(
            f"init: no tensor of {path} fits this network; choose the architecture of the file, or leave init out"
        )
    net.load_state_dict(fitting, strict=False)
    return rest


def lacks_encoder(net: nn.Module, checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a file lacks a tensor of the network's encoder, or has it in another shape."""
    stored = checkpoint["state_dict"]
    own = {f"{PREFIX}{name}": value.shape for name, value in net.state_dict().items()}
    return any(
        name not in stored or stored[name].shape != shape for name, shape in own.items() if name.startswith(ENCODER)
    )


def differing_settings(config: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Return the network's settings that differ between two configurations, one line each.

    For example ``model.net.channels: 64 there, 32 here``.
    """
    there, here = (flat_settings(one.get("model", {}).get("net", {}), "model.net") for one in (stored, config))
    keys = [key for key in dict.fromkeys([*there, *here]) if there.get(key) != here.get(key)]
    return [f"{key}: {there.get(key, 'not set')} there, {here.get(key, 'not set')} here" for key in keys]


def origin(checkpoint: Mapping[str, Any]) -> str:
    """Return the licence note of a file's weights, which is passed on to what is trained from them."""
    return checkpoint.get("note") or licence_note(checkpoint["config"])


def _of_network(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): value for name, value in state.items() if name.startswith(PREFIX)}


def _mismatches(own: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> list[str]:
    """Return one line per tensor that differs; one for all tensors of a part that one side lacks entirely."""
    lines = {}
    for name in dict.fromkeys([*own, *stored]):
        here, there = own.get(name), stored.get(name)
        if here is not None and there is not None:
            if here.shape != there.shape:
                lines[name] = f"{name}: {_size(there)} there, {_size(here)} here"
            continue
        part, lacking, where = (
            name.partition(".")[0],
            own if here is None else stored,
            "network" if here is None else "file",
        )
        tensors = [key for key in (stored if here is None else own) if key.partition(".")[0] == part]
        if any(key.partition(".")[0] == part for key in lacking):
            lines[name] = f"{name}: not in the {where}"
        else:
            lines[f"{part} {where}"] = f"{part}: not in the {where} ({len(tensors)} tensor{'s' * (len(tensors) > 1)})"
    return list(lines.values())


def _size(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"
