"""The static page: which files it has, and how they are written for any static host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.inference.onnx_network import OnnxNetwork, is_told_in_stages
from src.inference.runtime import CHECKSUMS
from src.utils.errors import UserError
from src.utils.protected import Protected
from src.utils.whole_file import write_whole

PAGE = Path(__file__).with_name("page")
MODEL = "model.onnx"
PROMPTS_LATE = "This network learned without boxes and clicks: they correct its last step alone."
NO_PROMPTS = (
    "Boxes and clicks cannot correct this mask: the file was exported without prompts=true, or its network has no step "
    "that could use them."
)
RUNTIME_LICENSE = """onnxruntime-web 1.30.0, MIT License, Copyright (c) Microsoft Corporation

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
and this permission notice shall be included in all copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
README = """---
title: Find what hides
emoji: 🦎
colorFrom: green
colorTo: gray
sdk: static
pinned: false
---

# Find what hides

A static page that segments camouflaged objects in the browser: put this folder on any static host, or into a Hugging
Face Space as it is. Pictures stay on the visitor's device; nothing is loaded from another host. Opened as a file it
does not run: browsers start no workers there.

Weights: {note}. Example pictures: `examples/LICENSE.txt`. Runtime: `runtime/LICENSE`.
"""


@dataclass(frozen=True)
class Site:
    """The files of the page.

    Attributes:
        files: path on the host, without a leading slash → a file on this disk, or the content itself.
    """

    files: Mapping[str, Path | bytes]

    @property
    def size(self) -> int:
        """Return the size of all files together, in bytes."""
        return sum(len(file) if isinstance(file, bytes) else file.stat().st_size for file in self.files.values())

    def read(self, name: str) -> bytes:
        """Return the content of one file."""
        file = self.files[name]
        return file if isinstance(file, bytes) else file.read_bytes()

    def write(self, folder: Path, overwrite: bool = False) -> None:
        """Write all files into a folder; files of other names in it are left alone.

        Raises:
            UserError: the folder is not empty and ``overwrite`` is false, or it is not writable.
        """
        if folder.exists() and not folder.is_dir():
            raise UserError(f"out={folder} is a file; name a folder")
        if not overwrite and folder.is_dir() and any(folder.iterdir()):
            raise UserError(
                f"out={folder} holds files already; overwrite=true replaces those of the page, or name another folder"
            )
        inputs = Protected(file for file in self.files.values() if isinstance(file, Path))
        for name in self.files:
            source = self.files[name]
            if isinstance(source, Path) and Protected([source]).holds(folder / name):
                continue  # a page that is written again into the folder that holds its own network
            if inputs.holds(folder / name):
                raise UserError(f"out={folder}: {name} is an input of this command; name another folder")
            try:
                write_whole(folder / name, self.read(name))
            except OSError as error:
                raise UserError(f"out={folder}: {name} cannot be written ({error.strerror})") from error


def make_site(model: Path, runtime: Path, network: OnnxNetwork) -> Site:
    """Put the page together.

    Args:
        model: an exported network with ``pre_post``.
        runtime: a folder with the files of `src.inference.runtime.CHECKSUMS`.
        network: the model, opened: its size, names and licence note are for the page.
    """
    shown = [path for path in sorted(PAGE.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    files: dict[str, Path | bytes] = {path.relative_to(PAGE).as_posix(): path for path in shown}
    files |= {f"runtime/{name}": runtime / name for name in CHECKSUMS}
    files["runtime/LICENSE"] = RUNTIME_LICENSE.encode()
    files[MODEL] = model
    loaded = sum((runtime / name).stat().st_size for name in CHECKSUMS if name.endswith(".wasm")) + model.stat().st_size
    about = {
        "model": MODEL,
        "bytes": loaded,
        "side": network.image_size,
        "name": _name(network.config),
        "note": network.note,
        "prompts": {"taken": network.takes_prompts, "words": _prompt_words(network)},
    }
    files["site.json"] = json.dumps(about).encode()
    files["README.md"] = README.format(note=network.note or "see where they come from").encode()
    return Site(files)


def _name(config: Mapping[str, Any]) -> str:
    """Return what the network is called on the page: its class and its encoder."""
    network = str(config.get("model", {}).get("net", {}).get("_target_", "")).rpartition(".")[2]
    encoder = config.get("encoder", {}).get("name", "")
    return " with ".join(name for name in (network, encoder) if name) or "An exported network"


def _prompt_words(network: OnnxNetwork) -> str:
    """Return what the page says of boxes and clicks: why there are none, or their limits; else nothing."""
    if not network.takes_prompts:
        return NO_PROMPTS
    return "" if is_told_in_stages(network.config) else PROMPTS_LATE
