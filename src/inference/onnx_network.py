"""The network of an exported ``.onnx`` file, run by onnxruntime: no torch.

The contract with `src.inference.export`: an input ``picture``, uint8 (height, width, 3) RGB of any size, and an output
``mask``, uint8 (height, width) of the same size; further outputs are not read here. A file that takes prompts has
more inputs, `PROMPT`. The metadata hold ``config`` (the resolved configuration, JSON), ``note`` (the licence note),
``image_size`` and ``pre_post`` (``true``: resizing is part of the file).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from src.data.prompts import PromptMaps
from src.inference.network import Options
from src.utils.errors import UserError
from src.utils.process import available_cores

PICTURE, MASK = "picture", "mask"
PROMPT = ("prompt_target", "prompt_certainty", "prompt_clicked")
"""P and p of a prompt and p of its clicks alone, float32 (1, 1, S, S) in [0, 1] with S = ``image_size``.

Where the prompt says nothing, p = 0; `prompt_clicked` is p or 0 everywhere.
"""
REFUSED = {"rounds": 1, "closing_step": None, "sharpness": 1.0, "image_size": None, "half": False, "flip": False}
"""Options that were fixed when the file was exported, and the only value that each can have."""


class Levels:
    """One picture's mask as the file returns it, uint8 (height, width)."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def levels(self, height: int, width: int) -> np.ndarray:
        """Return the mask; the file has brought it to the picture's size."""
        return self.values

    def probabilities(self, height: int, width: int) -> np.ndarray:
        """Return the mask in steps of 1/255, float32."""
        return self.values.astype(np.float32) / np.float32(255)


class OnnxNetwork:
    """An exported network behind the interface `Network`.

    Args:
        path: the file.
        options: how to run it; only the device can be chosen.

    Raises:
        UserError: onnxruntime is not installed, the file was not exported by this project, or an option does not apply
            to it.
    """

    batched = False

    def __init__(self, path: Path, options: Options | None = None) -> None:
        options = options or Options()
        _check_options(path, options)
        self._session = open_session(path, options.device)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.config: Mapping[str, Any] = _config(path, metadata)
        self.note = metadata.get("note", "")
        self.image_size = int(metadata["image_size"])
        inputs = {one.name for one in self._session.get_inputs()}
        self._prompt_inputs = [name for name in PROMPT if name in inputs]
        self.takes_prompts = bool(self._prompt_inputs)
        if self.takes_prompts and PROMPT[-1] not in inputs and is_told_in_stages(self.config):
            raise UserError(f"{path} has no input {PROMPT[-1]}: it is from an earlier version; export it again")

    def shrink(self, picture: np.ndarray) -> np.ndarray:
        """Return the picture as it is: the file resizes it."""
        return picture

    def run(self, inputs: Sequence[np.ndarray], prompts: Sequence[PromptMaps | None] = ()) -> list[Levels]:
        """Segment each picture, uint8 (h, w, 3), with its prompt, if the file takes prompts."""
        each = prompts or [None] * len(inputs)
        return [
            Levels(self._session.run([MASK], {PICTURE: picture, **self._said(prompt)})[0])
            for picture, prompt in zip(inputs, each, strict=True)
        ]

    def _said(self, prompt: PromptMaps | None) -> dict[str, np.ndarray]:
        """Return the inputs that the file has of `PROMPT`."""
        nothing = np.zeros((self.image_size, self.image_size), np.float32)
        maps = dict(zip(PROMPT, prompt or [nothing] * len(PROMPT), strict=True))
        return {name: maps[name][None, None] for name in self._prompt_inputs}

    def shared_by(self, workers: int) -> AbstractContextManager[None]:
        """Change nothing: all threads share the session's own threads."""
        return nullcontext()


def is_told_in_stages(config: Mapping[str, Any]) -> bool:
    """Return whether a network was trained with prompts, from its configuration."""
    return bool(config.get("model", {}).get("net", {}).get("prompts"))


def _check_options(path: Path, options: Options) -> None:
    options.check()
    given = [f"{name}={getattr(options, name)}" for name, only in REFUSED.items() if getattr(options, name) != only]
    if given:
        raise UserError(
            f"the options of {path} were fixed when it was exported; "
            f"predict from the checkpoint to choose these: {', '.join(given)}"
        )


def open_session(path: Path, device: str = "cpu") -> Any:
    """Return the onnxruntime session of a file; its idle threads sleep, so that other work gets the cores.

    Raises:
        UserError: onnxruntime is not installed, has no such device, or cannot read the file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(f"{path} needs onnxruntime: pip install onnxruntime") from error
    providers = _providers(device, onnxruntime.get_available_providers())
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # 2 prints a line for each constant that the optimiser has made superfluous
    options.intra_op_num_threads = available_cores()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # it would keep, for each size of picture, the largest it has met
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's errors share no class but Exception
        raise UserError(f"{path} cannot be read as ONNX ({str(error).splitlines()[0][:160]})") from error


def _providers(device: str, available: Sequence[str]) -> list[str]:
    on_gpu = "CUDAExecutionProvider" in available
    if device == "cpu" or (device == "auto" and not on_gpu):
        return ["CPUExecutionProvider"]
    if device not in ("auto", "cuda"):
        raise UserError(f"device={device}: an .onnx file runs on auto, cpu or cuda")
    if not on_gpu:
        raise UserError("device=cuda: this onnxruntime has no CUDA; pip install onnxruntime-gpu, or device=cpu")
    return ["CUDAExecutionProvider", "CPUExecutionProvider"]


def _config(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(metadata.get("config", ""))
    except ValueError:
        config = None
    if not isinstance(config, dict) or "image_size" not in metadata:
        raise UserError(
            f"{path} holds no `config` in its metadata: it is not one that this project exported (python -m src.export)"
        )
    if metadata.get("pre_post") != "true":
        raise UserError(
            f"{path} was exported without pre_post, so it reads no pictures; export it again with pre_post=true"
        )
    return config
