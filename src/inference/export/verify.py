"""Compare an exported file with its network: both run on the same inputs, in onnxruntime and in torch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
from torch import Tensor

from src.inference.export.trace import CELL, IMAGE
from src.inference.onnx_network import MASK, OnnxNetwork, open_session
from src.inference.torch_network import TorchNetwork

A = TypeVar("A")
B = TypeVar("B")

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
        """The comparison as one line."""
        times = f"torch {1e3 * self.torch_seconds:.0f} ms, onnxruntime {1e3 * self.onnx_seconds:.0f} ms"
        return f"{self.what}: {self.difference}; {times}"


def tensor_problems(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the comparisons of :func:`compare_tensors` that are further apart than `PROBABILITY`."""
    return [one.line for one in comparisons if not one.values.max() <= PROBABILITY]


def picture_problems(comparisons: Sequence[Comparison]) -> list[str]:
    """Return the comparisons of :func:`compare_pictures` beyond `MEAN` or `SHARE`, which hold for each picture."""
    far = [one for one in comparisons if not (one.values.mean() <= MEAN and (one.values > FAR).mean() <= SHARE)]
    return [f"{one.line}; allowed are {MEAN} in the mean and {SHARE:.1%} of pixels" for one in far]


def compare_tensors(path: Path, network: TorchNetwork, shapes: Sequence[tuple[int, int, int]]) -> Iterator[Comparison]:
    """Compare a file without resizing, on float tensors of shapes (N, H, W)."""
    session = open_session(path, "cpu")

    def exported(image: Tensor) -> np.ndarray:
        masks: np.ndarray = session.run([MASK], {IMAGE: image.contiguous().numpy()})[0]
        return masks

    for batch, height, width in shapes:
        image = network.to_input([made_up_picture(height, width, seed) for seed in range(batch)])
        expected, torch_seconds = _timed(network.probabilities, image)
        got, onnx_seconds = _timed(exported, image)
        off = np.abs(got - expected.numpy())
        words = f"probabilities differ by at most {off.max():.1e}"
        yield Comparison(f"float {batch} × 3 × {height} × {width}", words, off, torch_seconds, onnx_seconds)


def compare_pictures(path: Path, network: TorchNetwork, sizes: Sequence[tuple[int, int]]) -> Iterator[Comparison]:
    """Compare a file with resizing, on pictures of sizes (height, width).

    It is compared with what `src.predict` makes of the checkpoint.
    """
    exported = OnnxNetwork(path)
    for height, width in sizes:
        picture = made_up_picture(height, width, seed=height)
        expected, torch_seconds = _timed(partial(_levels, network), picture)
        got, onnx_seconds = _timed(partial(_levels, exported), picture)
        off = np.abs(got.astype(np.int16) - expected)
        words = (
            f"levels differ by {off.mean():.3f} in the mean, {off.max()} at most, "
            f"more than {FAR} in {(off > FAR).mean():.3%} of pixels"
        )
        yield Comparison(f"picture {height} × {width}", words, off, torch_seconds, onnx_seconds)


def shapes_to_compare(side: int | None, image_size: int) -> list[tuple[int, int, int]]:
    """Return the shapes (N, H, W) that a file of one size, or of any, is compared on."""
    if side is not None:
        return [(1, side, side), (2, side, side)]
    cells = max(1, round(image_size / CELL))
    in_cells = ((1, cells, cells), (2, max(1, cells // 2), cells + 1), (1, cells + 2, 2))
    return [(batch, CELL * rows, CELL * columns) for batch, rows, columns in in_cells]


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


def _levels(network: TorchNetwork | OnnxNetwork, picture: np.ndarray) -> np.ndarray:
    return network.run([network.shrink(picture)])[0].levels(*picture.shape[:2])


def _timed(call: Callable[[A], B], argument: A) -> tuple[B, float]:
    """Return what a call gives, and the seconds of a second call: the first one includes preparations."""
    result = call(argument)
    start = time.perf_counter()
    call(argument)
    return result, time.perf_counter() - start
