"""Measure images per second per core: this project's data loading against plain Pillow + torchvision.

    python -m scripts.bench_data data.root=FOLDER --set CAMO --size 384

Everything runs in one process on one thread, so the numbers are per core. All pipelines do the same steps on the same
files in the same order, with the same memory settings, and take turns. "Training" is the paper's recipe: flip, crop,
rotation, sharpness, resize, colour, tensor. "Evaluation" is resize and tensor; the mask is not resized.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from src.cli.command import console
from src.cli.script import ScriptParser
from src.data.cache import Cached
from src.data.dataset import COSDataset, COSEvalDataset
from src.data.layouts import locate_set, missing_root, missing_set
from src.data.sampler import SeededIndex
from src.data.sources import FolderPairs
from src.data.transforms import paper_recipe, resize_only
from src.utils.errors import UserError

Load = Callable[[int], Any]


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_data_root()
    parser.add_argument("--set", default="CAMO", help="name of the data set")
    parser.add_argument("--split", default="train", choices=["train", "test"])
    parser.add_argument("--size", type=int, default=384, help="side of the network's input in pixels")
    parser.add_argument("--images", type=int, default=150, help="number of images to read")
    parser.add_argument("--rounds", type=int, default=5, help="passes over them; the median counts")
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure, print, and return kind → pipeline → images per second per core."""
    if not arguments.data_root.is_dir():
        raise UserError(missing_root(arguments.data_root))
    folders = locate_set(arguments.data_root, arguments.split, arguments.set)
    if folders is None:
        raise UserError(missing_set(arguments.data_root, arguments.split, arguments.set))
    torch.set_num_threads(1)
    plain, fast = FolderPairs(folders, arguments.set), FolderPairs(folders, arguments.set, arguments.size)
    count, out = min(arguments.images, len(plain)), console()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, COS_CACHE=folder):
        cached, resized = Cached(plain, None), Cached(plain, arguments.size)
        for source in (cached, resized):
            source.build(10**12)
        for kind, pipelines in _pipelines(plain, fast, cached, resized, arguments.size).items():
            found[kind] = _measured(pipelines, count, arguments.rounds)
            out.print(_table(kind, found[kind], arguments, count))
    return found


def _pipelines(
    plain: FolderPairs, fast: FolderPairs, cached: Cached, resized: Cached, size: int
) -> dict[str, dict[str, Load]]:
    def ours(source: Any, recipe: Any = paper_recipe) -> Load:
        data = COSDataset(source, recipe, size)
        return lambda index: data[SeededIndex(index, index)]

    def evaluation(source: Any) -> Load:
        return COSEvalDataset(source, size).__getitem__

    return {
        "training, paper recipe": {
            "Pillow + torchvision": lambda index: plain_training(*plain.paths(plain.names[index]), size),
            "this project": ours(plain),
            "… with data.fast_decode": ours(fast),
            "… with data.cache": ours(cached),
        },
        "training, no augmentation": {
            "Pillow + torchvision": lambda index: plain_resized(*plain.paths(plain.names[index]), size),
            "this project": ours(plain, resize_only),
            "… with data.fast_decode": ours(fast, resize_only),
            "… with data.cache": ours(resized, resize_only),
        },
        "evaluation": {
            "Pillow + torchvision": lambda index: plain_evaluation(*plain.paths(plain.names[index]), size),
            "this project": evaluation(plain),
            "… with data.fast_decode": evaluation(fast),
            "… with data.cache": evaluation(resized),
        },
    }


def plain_training(image_path: Path, mask_path: Path, size: int) -> tuple[Tensor, Tensor]:
    """Apply `transforms.paper_recipe` with the field's usual tools: Pillow images and torchvision functions."""
    image, mask = Image.open(image_path).convert("RGB"), Image.open(mask_path).convert("L")
    if random.random() < 0.5:
        image, mask = F.hflip(image), F.hflip(mask)
    (width, height), removed = image.size, [random.randint(0, 30) for _ in range(2)]
    box = (random.randint(0, removed[1]), random.randint(0, removed[0]), height - removed[1], width - removed[0])
    image, mask = F.crop(image, *box), F.crop(mask, *box)
    if random.random() < 0.2:
        angle = random.uniform(-15, 15)
        image, mask = F.rotate(image, angle, InterpolationMode.BILINEAR), F.rotate(mask, angle)
    image = F.resize(F.adjust_sharpness(image, random.uniform(0, 3)), [size, size])
    for adjust, low, high in (
        (F.adjust_brightness, 0.5, 1.5),
        (F.adjust_contrast, 0.5, 1.5),
        (F.adjust_saturation, 0.0, 2.0),
    ):
        image = adjust(image, random.uniform(low, high))
    return F.to_tensor(image), F.to_tensor(F.resize(mask, [size, size], InterpolationMode.NEAREST))


def plain_resized(image_path: Path, mask_path: Path, size: int) -> tuple[Tensor, Tensor]:
    """Return image and mask, resized, as tensors."""
    image, mask = Image.open(image_path).convert("RGB"), Image.open(mask_path).convert("L")
    return F.to_tensor(F.resize(image, [size, size])), F.to_tensor(
        F.resize(mask, [size, size], InterpolationMode.NEAREST)
    )


def plain_evaluation(image_path: Path, mask_path: Path, size: int) -> tuple[Tensor, Tensor]:
    """Return the resized image, and the mask as bool at its own size."""
    image, mask = Image.open(image_path).convert("RGB"), Image.open(mask_path).convert("L")
    return F.to_tensor(F.resize(image, [size, size])), torch.from_numpy(np.array(mask) > 127)


def _measured(pipelines: dict[str, Load], count: int, rounds: int) -> dict[str, float]:
    """Return images per second of CPU time: the median of `rounds` passes in turns, after one warm-up pass."""
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for turn in range(rounds + 1):
        for name, load in pipelines.items():
            start = time.process_time()
            for index in range(count):
                load(index)
            if turn:
                seconds[name].append(time.process_time() - start)
    return {name: count / float(np.median(taken)) for name, taken in seconds.items()}


def _table(kind: str, speeds: dict[str, float], arguments: argparse.Namespace, count: int) -> Table:
    title = f"{kind}: {count} images of {arguments.set}-{arguments.split.capitalize()} to {arguments.size} px, one core"
    table = Table(title=title, title_justify="left", min_width=len(title))
    table.add_column("pipeline")
    table.add_column("images/s", justify="right")
    table.add_column("× the first", justify="right")
    first = next(iter(speeds.values()))
    for name, speed in speeds.items():
        table.add_row(name, f"{speed:.0f}", f"{speed / first:.2f}")
    return table


if __name__ == "__main__":
    main()
