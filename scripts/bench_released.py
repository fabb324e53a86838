"""Time the authors' network on one picture: seconds, multiply-accumulates, GFLOP/s, and peak memory with loading.

    python -m scripts.bench_released [--checkpoint FILE] [--rounds 7] [--threads 2] [--layers]

Without a checkpoint, ../shared/released/fill.py makes a file of the same size (317 MB); the time does not depend on the
values. Loading and timing run in a separate process, with the memory settings of `src.predict`, so that the peak
includes nothing else. The median of the rounds is reported; CPU seconds and the load of the machine show how much of
the wall time other processes took. Multiply-accumulates are counted for direct convolutions. Fourier transforms need
fewer, so the rate may exceed what the processor can do.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch

from src.checkpoints.released import IMAGE_SIZE, load_released
from src.cli.script import ScriptParser
from src.models.encoder import PyramidEncoder
from src.models.released.network import ReleasedRUN
from src.utils.errors import UserError
from src.utils.memory import peak_gib, share_heap

ROWS = 15


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--checkpoint", type=Path, help="the authors' file, e.g. Net_epoch_best.pth")
    parser.add_argument(
        "--filling", type=Path, default=Path("../shared/released"), help="folder of fill.py, if there is no checkpoint"
    )
    parser.add_argument("--rounds", type=int, default=7, help="passes; the median is reported")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch")
    parser.add_argument("--layers", action="store_true", help="print the operations that take most of the time")
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Time the network in a new process, which prints a table."""
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.checkpoint or filled_file(arguments.filling, Path(folder))
        process = multiprocessing.get_context("spawn").Process(target=measure, args=(path, arguments))
        process.start()
        process.join()
    if process.exitcode:
        raise UserError(f"the timing process ended with status {process.exitcode}")


def filled_file(filling: Path, folder: Path) -> Path:
    """Write a checkpoint with the released names (those of a multi-GPU training) and shapes, and return its path."""
    if not (filling / "fill.py").is_file():
        raise UserError(f"--filling: no fill.py in {filling}; name the authors' file with --checkpoint")
    spec = importlib.util.spec_from_file_location("fill", filling / "fill.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shapes = json.loads((filling / "released_state_dict.json").read_text())
    path = folder / "Net_epoch_best.pth"
    torch.save(
        {f"module.{name}": torch.from_numpy(value) for name, value in module.fill_state(shapes, "A").items()}, path
    )
    return path


@torch.inference_mode()
def measure(path: Path, arguments: argparse.Namespace) -> None:
    """Load a checkpoint, run it on one picture, and print a table."""
    share_heap()
    torch.set_num_threads(arguments.threads)
    net = load_released(path)
    picture = torch.rand(1, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0))
    net.stage_logits(picture)
    runs = [timed(net, picture) for _ in range(arguments.rounds)]
    wall, cpu = (statistics.median(column) for column in zip(*runs, strict=True))
    peak = peak_gib()
    operations = arithmetic(net, picture)
    print(f"| one picture, {IMAGE_SIZE} × {IMAGE_SIZE}, {arguments.threads} threads | |\n|---|--:|")
    print(f"| wall seconds, median of {arguments.rounds} | {wall:.2f} |")
    print(f"| wall seconds, fastest | {min(run[0] for run in runs):.2f} |")
    print(f"| CPU seconds, median | {cpu:.2f} |")
    print(f"| multiply-accumulates | {operations / 2e9:.1f} G |")
    print(f"| rate | {operations / wall / 1e9:.0f} GFLOP/s |")
    print(f"| peak memory, loading included | {peak:.2f} GiB |")
    print(f"| load of the machine | {os.getloadavg()[0]:.1f} |")
    if arguments.layers:
        print_layers(net, picture)


def timed(net: ReleasedRUN, picture: torch.Tensor) -> tuple[float, float]:
    """Return the wall and CPU seconds of one pass."""
    wall, cpu = time.perf_counter(), time.process_time()
    net.stage_logits(picture)
    return time.perf_counter() - wall, time.process_time() - cpu


def arithmetic(net: ReleasedRUN, picture: torch.Tensor) -> int:
    """Return the floating-point operations of one pass by direct convolutions."""
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton: not before the peak is read

    with torch.device("meta"):
        plain = ReleasedRUN(PyramidEncoder(net.encoder.name, None), net.channels).eval()
    with FlopCounterMode(display=False) as counter:
        plain.stage_logits(picture.to("meta"))
    return counter.get_total_flops()


def print_layers(net: ReleasedRUN, picture: torch.Tensor) -> None:
    """Print the operations that take most of the time."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        net.stage_logits(picture)
    print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=ROWS, max_name_column_width=40))


if __name__ == "__main__":
    main()
