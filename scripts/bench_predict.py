"""Time `src.predict` against the plain loop that it used to be.

    python -m scripts.bench_predict --weights FILE --pictures FOLDER

The loop decodes with Pillow, runs a batch, enlarges and saves, one step after another. The two alternate in one process
and write the maps of the same pictures. Times run from the first decoded file to the last written one, without imports
and without loading the network. Printed are the fastest run of each, the largest difference between the maps in grey
levels, and the peak memory of a separate `src.predict` process, imports included, for several batch sizes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from src.cli.script import ScriptParser
from src.data.dataset import to_tensor
from src.data.readers import read_image
from src.data.transforms import resize_image
from src.inference.files import FileRunner, check_sources
from src.inference.inputs import find_sources
from src.inference.job import PredictionJob
from src.inference.network import Options
from src.inference.outputs import Outputs
from src.inference.predictor import Predictor
from src.inference.progress import Progress
from src.inference.settings import PredictSettings
from src.inference.torch_network import TorchNetwork
from src.metrics.functional import to_8bit
from src.models.outputs import masks_at_size

BATCH_SIZES = (1, 8, 64)
WATCHED = """
import runpy
from src.utils.memory import peak_gib
try:
    runpy.run_module("src.predict", run_name="__main__", alter_sys=True)
finally:
    print(peak_gib())
"""
"""Code that runs `src.predict` and prints the peak memory of its own process.

Measured from the parent, the peak would include this script's memory.
"""
SETTINGS = PredictSettings(
    types=("map",),
    background="white",
    threshold=None,
    file_format="png",
    frames=False,
    overwrite=True,
    only_missing=False,
    skip_errors=False,
    options=Options(device="cpu"),
    batch_size=8,
)


class Run(NamedTuple):
    """Wall and CPU seconds of one pass over the pictures."""

    wall: float
    cpu: float


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--weights", default="run-camo-lite0", help="the network")
    parser.add_argument("--pictures", default="../shared/photos", help="pictures, as input= of src.predict")
    parser.add_argument("--rounds", type=int, default=5, help="passes of each; the fastest is reported")
    parser.add_argument("--threads", type=int, default=2, help="threads of each")
    parser.add_argument("--no-memory", action="store_true", help="do not measure the memory of src.predict")
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Measure and print the table."""
    torch.set_num_threads(arguments.threads)
    predictor = Predictor(arguments.weights, options=SETTINGS.options)
    with tempfile.TemporaryDirectory() as folder:
        before, now = Path(folder, "before"), Path(folder, "now")
        passes: dict[str, Callable[[], None]] = {
            "plain loop": lambda: plain_loop(predictor, arguments.pictures, before),
            "src.predict": lambda: overlapped(predictor, arguments.pictures, now, arguments.threads),
        }
        runs = alternate(passes, arguments.rounds)
        difference = largest_difference(before, now)
        best = {
            name: Run(min(run.wall for run in found), min(run.cpu for run in found)) for name, found in runs.items()
        }
        print("| | wall s | CPU s |\n|---|--:|--:|")
        for name, run in best.items():
            print(f"| {name} | {run.wall:.2f} | {run.cpu:.2f} |")
        plain, ours = best.values()
        print(f"| ratio | {plain.wall / ours.wall:.2f} | {plain.cpu / ours.cpu:.2f} |")
        print(
            f"\nLargest difference of the maps: {difference} grey levels; "
            f"fastest of {arguments.rounds}, {arguments.threads} threads."
        )
        if not arguments.no_memory:
            for size in BATCH_SIZES:
                peak = peak_gib(arguments, Path(folder), size)
                print(f"Peak memory of src.predict with batch_size={size}: {peak:.2f} GiB", flush=True)


def alternate(passes: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[Run]]:
    """Run each pass once to warm up, then all of them in turns, and return the runs of each."""
    runs: dict[str, list[Run]] = {name: [] for name in passes}
    for number in range(rounds + 1):
        for name, one_pass in passes.items():
            wall, cpu = time.perf_counter(), time.process_time()
            one_pass()
            if number:
                runs[name].append(Run(time.perf_counter() - wall, time.process_time() - cpu))
    return runs


@torch.no_grad()
def plain_loop(predictor: Predictor, pictures: str, folder: Path, batch_size: int = 8) -> None:
    """Write maps as `src.predict` did at commit 384e7e4."""
    network = predictor.network
    assert isinstance(network, TorchNetwork)
    folder.mkdir(exist_ok=True)
    files = [source.path for source in find_sources(pictures) if source.path is not None]
    for first in range(0, len(files), batch_size):
        batch = files[first : first + batch_size]
        images = [read_image(file) for file in batch]
        inputs = torch.stack([to_tensor(resize_image(image, network.image_size)) for image in images])
        logits = network.net(inputs.contiguous(memory_format=torch.channels_last)).mask_logits
        masks = masks_at_size(logits, [torch.empty(image.shape[:2], device="meta") for image in images])
        for file, mask in zip(batch, masks, strict=True):
            Image.fromarray(to_8bit(mask.double().numpy())).save(folder / f"{file.stem}.png")


def overlapped(predictor: Predictor, pictures: str, folder: Path, threads: int) -> None:
    """Write maps as `src.predict` does, with this number of threads."""
    checked, _ = check_sources(find_sources(pictures), SETTINGS)
    FileRunner(PredictionJob(predictor, Outputs(folder, SETTINGS.types), SETTINGS, Progress()), workers=threads).run(
        checked
    )


def largest_difference(before: Path, now: Path) -> int:
    """Return the largest difference between two folders of maps, in grey levels."""
    pairs = [
        (np.asarray(Image.open(file)), np.asarray(Image.open(now / file.name))) for file in sorted(before.iterdir())
    ]
    return max(int(np.abs(one.astype(int) - other).max()) for one, other in pairs)


def peak_gib(arguments: argparse.Namespace, folder: Path, batch_size: int) -> float:
    """Return the peak resident memory of one `src.predict` process, in GiB."""
    output = folder / f"batch{batch_size}"
    settings = [
        f"ckpt_path={arguments.weights}",
        f"input={arguments.pictures}",
        f"output={output}",
        f"batch_size={batch_size}",
        "device=cpu",
    ]
    printed = subprocess.run(
        [sys.executable, "-c", WATCHED, *settings], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return float(printed.splitlines()[-1])


if __name__ == "__main__":
    main()
