"""The settings of `src.export`, checked before anything is loaded: no torch, no ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from src.inference.network import SMALLEST_SIDE
from src.inference.opening import ONNX_SUFFIX, network_file
from src.utils.errors import Problems, UserError
from src.utils.protected import new_file_problem

ANY = "dynamic"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class ExportSettings:
    """What is exported and how.

    Attributes:
        source: a checkpoint or exported weights.
        out: the file to write.
        size: side of the network's input in pixels. None: as trained with ``pre_post``, else any multiple of 32, rows
            and columns.
        pre_post: resizing is part of the file, which then reads pictures; False: float tensors in and out, any number
            at a time.
        half: round weights to half precision even where that changes them.
        stages: the maps of RUN's stages are outputs too. None: if the network has stages.
        prompts: the maps of a prompt are inputs too. None: if the network takes prompts.
        overwrite: replace a file that exists.
    """

    source: Path
    out: Path
    size: int | None = None
    pre_post: bool = True
    half: bool = False
    stages: bool | None = False
    prompts: bool | None = False
    overwrite: bool = False


def export_settings(cfg: Mapping[str, Any]) -> ExportSettings:
    """Read `conf/export.yaml` as a plain mapping.

    Raises:
        UserError: all mistakes at once: no such checkpoint, an invalid size, a file that exists, missing packages.
    """
    problems, source, out = Problems(), Path(), Path(cfg["out"])
    with problems.catch():
        source = network_file(cfg["ckpt_path"])
        if source.suffix == ONNX_SUFFIX:
            raise UserError(f"ckpt_path: {source} is exported already; give the checkpoint that it was made of")
    size = cfg["size"]
    if size != ANY and not (isinstance(size, int) and size >= SMALLEST_SIDE):
        problems.append(
            f"size={size}: expected {ANY}, or the side of the network's input, {SMALLEST_SIDE} pixels or more"
        )
    if out.suffix != ONNX_SUFFIX:
        problems.append(f"out={out}: the file's name must end in {ONNX_SUFFIX}")
    elif problem := new_file_problem("out", out, [source], cfg["overwrite"] is True):
        problems.append(problem)
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        problems.append(f"exporting needs {', '.join(missing)}: pip install {' '.join(missing)}")
    problems.raise_all("nothing was exported:")
    side = None if size == ANY else size
    kept = ("pre_post", "half", "stages", "prompts", "overwrite")
    return ExportSettings(source, out, side, **{key: cfg[key] for key in kept})
