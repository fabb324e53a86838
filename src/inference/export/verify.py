"""Compare an exported file with its network: both run on the same inputs and prompts, in onnxruntime and in torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import torch
from torch import Tensor

from src.data.prompts import PromptMaps
from src.inference.export.trace import CELL, IMAGE
from src.inference.onnx_network import MASK, PROMPT, OnnxNetwork, open_session
from src.inference.torch_network import TorchNetwork
from src.models.prompts import Prompt

A = TypeVar("A")

WITH_PROMPT = ", with a prompt"

PROBABILITY = 1e-3
"""Allowed difference of a probability, for the same float input."""
MEAN, FAR, SHARE = 0.1, 8, 1e-3
"""Allowed for masks of pictures, in levels of 255: their mean difference, and the share of pixels more than `FAR` off.

The network has hard thresholds, so that one level of its input can move a pixel by tens of levels.
"""


class Comparison(NamedTuple):
    """One input in both runtimes.

    Attributes:
        what: the input, in words.
        difference: in words.
        values: the absolute differences, of probabilities or of levels.
        torch_seconds: of one call.
        onnx_seconds: of one call.
    """

    what: str
    difference: str
    values: np.ndarray
    torch_seconds: float
    onnx_seconds: float

    @property
    def line(self) -> str:
        """Return the comparison as one line."""
        times = f"torch {1e3 * self.torch_seconds:.0f} ms, onnxruntime {1e3 * self.onnx_seconds:.0f} ms"
        return f"{self.what}: {self.difference}; {times}"


def tensor_problems(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the comparisons of :func:`compare_tensors` that are further apart than `PROBABILITY`."""
    return [one.line for one in comparisons if not one.values.max() <= PROBABILITY]


def picture_problems(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the comparisons of :func:`compare_pictures` beyond `MEAN` or `SHARE`, which apply to each picture."""
    far = [one for one in comparisons if not (one.values.mean() <= MEAN and (one.values > FAR).mean() <= SHARE)]
    return [f"{one.line}; allowed are {MEAN} in the mean and {SHARE:.1%} of pixels" for one in far]


def compare_tensors(
    path: Path, network: TorchNetwork, shapes: Sequence[tuple[int, int, int]], prompts: bool = False
) -> Iterator[Comparison]:
    """Compare a file without resizing, on float tensors of shapes (N, H, W); ``prompts``: each with a prompt, too."""
    session = open_session(path, "cpu")

    def exported(image: Tensor, prompt: Prompt | None) -> np.ndarray:
        nothing = torch.zeros_like(image[:, :1])
        feeds = {IMAGE: image, **(dict(zip(PROMPT, prompt or [nothing] * len(PROMPT), strict=True)) if prompts else {})}
        masks: np.ndarray = session.run([MASK], {name: one.contiguous().numpy() for name, one in feeds.items()})[0]
        return masks

    for batch, height, width in shapes:
        image = network.to_input([made_up_picture(height, width, seed) for seed in range(batch)])
        maps = [torch.from_numpy(one).expand(batch, 1, -1, -1) for one in made_up_prompt(height, width)]
        for prompt, words in [(None, ""), (Prompt(*maps), WITH_PROMPT)][: 1 + prompts]:
            expected, torch_seconds = _timed(network.probabilities, image, prompt)
            got, onnx_seconds = _timed(exported, image, prompt)
            off = np.abs(got - expected.numpy())
            what = f"float {batch} × 3 × {height} × {width}{words}"
            yield Comparison(what, f"probabilities differ by at most {off.max():.1e}", off, torch_seconds, onnx_seconds)


def compare_pictures(path: Path, network: TorchNetwork, sizes: Sequence[tuple[int, int]]) -> Iterator[Comparison]:
    """Compare a file with resizing, on pictures of sizes (height, width); one that takes prompts also each with one.

    It is compared with what `src.predict` makes of the checkpoint.
    """
    exported, maps = OnnxNetwork(path), made_up_prompt(network.image_size, network.image_size)
    for height, width in sizes:
        picture = made_up_picture(height, width, seed=height)
        for prompt, words in [(None, ""), (maps, WITH_PROMPT)][: 1 + exported.takes_prompts]:
            expected, torch_seconds = _timed(_levels, network, picture, prompt)
            got, onnx_seconds = _timed(_levels, exported, picture, prompt)
            off = np.abs(got.astype(np.int16) - expected)
            difference = (
                f"levels differ by {off.mean():.3f} in the mean, {off.max()} at most, "
                f"more than {FAR} in {(off > FAR).mean():.3%} of pixels"
            )
            yield Comparison(f"picture {height} × {width}{words}", difference, off, torch_seconds, onnx_seconds)


def shapes_to_compare(side: int | None, image_size: int, cell: int = CELL) -> list[tuple[int, int, int]]:
    """Return the shapes (N, H, W) that a file of one size, or of any multiples of ``cell``, is compared on."""
    if side is not None:
        return [(1, side, side), (2, side, side)]
    cells = max(1, round(image_size / cell))
    in_cells = ((1, cells, cells), (2, max(1, cells // 2), cells + 1), (1, cells + 2, 2))
    return [(batch, cell * rows, cell * columns) for batch, rows, columns in in_cells]


def picture_sizes(side: int) -> list[tuple[int, int]]:
    """Return sizes (height, width) around and far from a network's side: the same, odd, tall, flat, large."""
    return [(side, side), (2 * side + 1, 3 * side - 7), (5 * side, side // 2), (33, 500), (1500, 2000)]


def made_up_picture(height: int, width: int, seed: int) -> np.ndarray:
    """Return a random picture, uint8 (height, width, 3): blotches of several sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    for cells in (2, 5, 16, 64):
        noise = rng.random((cells, cells, 3), np.float32) - np.float32(0.5)
        total += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / np.float32(np.sqrt(cells))
    return np.clip(128 + 200 * total, 0, 255).astype(np.uint8)


def made_up_prompt(height: int, width: int) -> PromptMaps:
    """Return a random prompt, float32 (height, width) each: blotches, and nothing said in about half of the picture."""
    blotches = made_up_picture(height, width, seed=0).astype(np.float32) / 255
    certainty = np.maximum(2 * blotches[..., 1] - 1, 0)
    return PromptMaps(blotches[..., 0].copy(), certainty, np.where(blotches[..., 2] > 0.5, certainty, 0))


def _levels(network: TorchNetwork | OnnxNetwork, picture: np.ndarray, prompt: PromptMaps | None) -> np.ndarray:
    return network.run([network.shrink(picture)], [prompt])[0].levels(*picture.shape[:2])


def _timed(call: Callable[..., A], *arguments: Any) -> tuple[A, float]:
    """Return what a call gives, and the seconds of a second call: the first one includes preparations."""
    result = call(*arguments)
    start = time.perf_counter()
    call(*arguments)
    return result, time.perf_counter() - start
