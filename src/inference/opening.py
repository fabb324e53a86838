"""Find the file of a trained network and open it with the runtime that its suffix names."""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

from src.checkpoints.shipped import no_network, path_of
from src.inference.network import Network, Options
from src.utils.errors import UserError

TORCH_SUFFIXES = (".ckpt", ".safetensors", ".pth")
"""Suffixes of this project's checkpoints, its exported weights, and the authors' own files."""
ONNX_SUFFIX = ".onnx"
SUFFIXES = (*TORCH_SUFFIXES, ONNX_SUFFIX)
IN_FOLDERS = ("model.safetensors", "checkpoints/best.ckpt")
"""Files that a folder is opened by: weights saved for a hub, or the best checkpoint of a training."""
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
"""``owner/name``, a repository of a model hub."""


def open_network(source: str | PathLike[str], options: Options | None = None) -> Network:
    """Open a trained network with the runtime that its suffix names.

    torch is imported for checkpoints and exported weights, onnxruntime for ONNX files, neither before the file is
    found.

    Args:
        source: a checkpoint, exported weights, an exported ONNX file, a folder that holds one of them, the name of a
            network that comes with the project, or a repository of the Hub.
        options: how to run it.

    Raises:
        UserError: no such file, an unknown suffix, or a file that this project did not write.
    """
    options = options or Options()
    options.check()
    path = network_file(source)
    if path.suffix == ONNX_SUFFIX:
        from src.inference.onnx_network import OnnxNetwork

        return OnnxNetwork(path, options)
    from src.checkpoints.network import make_network
    from src.checkpoints.reading import read_checkpoint
    from src.inference.torch_network import TorchNetwork

    checkpoint = read_checkpoint(path)
    net, about = make_network(checkpoint, path, options.variant), (checkpoint["config"], checkpoint.get("note", ""))
    return TorchNetwork(net, *about, options, checkpoint.get("selection"))


def network_file(source: str | PathLike[str], **hub: Any) -> Path:
    """Return the file that a path names: itself, a folder's network, or the cached file of a Hub repository.

    The Hub is not contacted if a file or folder of that name exists, or a folder of the owner's name.

    Args:
        source: a file, a folder, the name of a shipped network, or ``owner/name``.
        hub: options of :func:`src.inference.hub.download`.

    Raises:
        UserError: there is no file, or more than one; or a suffix that no runtime reads.
    """
    path = path_of(source)
    if path.is_dir():
        return _in_folder(path)
    if _is_hub_id(source):
        from src.inference.hub import download

        return download(str(source), **hub)
    if not path.is_file():
        raise UserError(f"ckpt_path: {no_network(path, 'file or folder')}")
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"ckpt_path: {path}: a network is a file with the suffix {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        )
    return path


def _is_hub_id(source: str | PathLike[str]) -> bool:
    """Return whether this must mean a repository: ``owner/name`` as text, no existing path, none of our suffixes."""
    path = Path(source)
    looks_so = isinstance(source, str) and HUB_ID.fullmatch(source) and path.suffix not in SUFFIXES
    return bool(looks_so) and not path.exists() and not path.parent.exists()


def _in_folder(folder: Path) -> Path:
    for name in IN_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(found) == 1:
        return found[0]
    names = ", ".join(path.name for path in found) or f"looked for {', '.join(IN_FOLDERS)} and *{', *'.join(SUFFIXES)}"
    raise UserError(
        f"ckpt_path: the folder {folder} holds {'several networks' if found else 'no network'} ({names}); name the file"
    )
