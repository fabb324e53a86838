"""Measure how time and memory of a forward pass and a training step grow with pixels, stages, channels and batch size.

    python -m scripts.bench_scaling [--models run run_quarter fpn] [--quick] [--out FOLDER] [OVERRIDE …]

One setting is varied at a time; the base is one image of 256 px and the model's own K and channels. Each measurement
runs in a new process, so that its peak memory is its own, and the settings take turns, so that other load on the
machine affects all of them alike; the median of the rounds is reported. Models, data and overrides are those of
`scripts.bench_train`. Memory: growth of the process beyond the loaded network and its optimiser (on a GPU: growth of
what torch has allocated).

The exponent p of cost ∝ size^p is fitted to the logarithms by least squares, over the whole range and over its last two
points. "Off a line": the largest relative distance from the best line, a fixed part plus a part that is proportional to
the size. `--out` writes scaling.csv, with one row per measurement, and scaling.png.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from scripts.bench_train import composed, make, step
from scripts.growth import bend, exponent
from src.cli.script import ScriptParser
from src.module import COSModule
from src.report.figures.curves import COLOURS
from src.report.figures.figure import figure_of, plain, save_figure
from src.report.files import write_csv
from src.utils.errors import UserError
from src.utils.memory import keep_freed_memory, peak_gib, release_freed, reset_peak
from src.utils.process import available_cores

Result = TypeVar("Result")
SIDE, BATCH = 256, 1
AXES = {
    "pixels": (128, 192, 256, 384, 512, 768, 1024),
    "stages": (1, 2, 3, 4, 5, 6),
    "channels": (32, 64, 128),
    "batch": (1, 2, 4, 8, 16),
}
"""Varied setting → its values; "pixels" are given as the side of the square image."""
QUICK = {"pixels": (128, 256, 512), "stages": (1, 3, 6), "channels": (32, 64), "batch": (1, 4)}
SETTINGS = {"stages": "model.net.num_stages", "channels": "model.net.channels"}
WARM_SIDE = 64
"""Side of the two images of the warm-up step, which compiles and loads what every process needs."""


class Point(NamedTuple):
    """A setting to measure: one value of an axis, everything else as in the base setting."""

    model: str
    axis: str
    value: int

    @property
    def size(self) -> int:
        """The size that costs are fitted to: the value, or the number of pixels."""
        return self.value**2 if self.axis == "pixels" else self.value


class Cost(NamedTuple):
    """Seconds, and MiB beyond those of the idle network, of a forward pass and of a training step."""

    forward_seconds: float
    step_seconds: float
    forward_mib: float
    step_mib: float


NAMES = {
    "forward_seconds": "forward, s",
    "step_seconds": "training step, s",
    "forward_mib": "forward, MiB",
    "step_mib": "training step, MiB",
}


def points(models: Sequence[str], axes: Mapping[str, Sequence[int]], overrides: Sequence[str]) -> list[Point]:
    """Return the settings to measure; an axis that a model does not have, such as stages, is skipped for it."""
    found = []
    for model in models:
        net = composed(model, list(overrides)).model.net
        for axis, values in axes.items():
            if axis not in SETTINGS or SETTINGS[axis].rpartition(".")[2] in net:
                found += [Point(model, axis, value) for value in values]
    return found


def measure(point: Point, overrides: Sequence[str], device: str, threads: int, repeats: int) -> Cost:
    """Return the cost of one setting in this process; times are medians of ``repeats`` runs after a warm-up run."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    setting = [f"{SETTINGS[point.axis]}={point.value}"] if point.axis in SETTINGS else []
    module, optimizer = make(point.model, [*overrides, *setting], device)
    side = point.value if point.axis == "pixels" else SIDE
    batch = point.value if point.axis == "batch" else BATCH
    warm, real = _data(2, WARM_SIDE, device), _data(batch, side, device)
    forward(module, warm[0])
    step(module, optimizer, *warm)
    optimizer.zero_grad(set_to_none=True)
    idle = _idle_mib(device)
    passes = _timed(lambda: forward(module, real[0]), repeats), _peak_mib(device) - idle
    _idle_mib(device)
    steps = _timed(lambda: step(module, optimizer, *real), repeats), _peak_mib(device) - idle
    return Cost(passes[0], steps[0], passes[1], steps[1])


@torch.no_grad()
def forward(module: COSModule, image: torch.Tensor) -> float:
    """Return the seconds of one forward pass in evaluation mode; the module is in training mode again afterwards."""
    module.eval()
    start = time.perf_counter()
    module(image)
    if image.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    module.train()
    return seconds


def _data(batch: int, side: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image, mask = (torch.rand(batch, channels, side, side, generator=generator) for channels in (3, 1))
    return image.to(device), (mask > 0.7).float().to(device)


def _timed(action: Callable[[], float], repeats: int) -> float:
    return statistics.median([action() for _ in range(repeats + 1)][1:])


def _idle_mib(device: str) -> float:
    """Reset the peak and return the memory in use; on a CPU, memory that was freed but kept is returned first."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        release_freed()
        reset_peak()
    return _peak_mib(device)


def _peak_mib(device: str) -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else 1024 * peak_gib()


def isolated(function: Callable[..., Result], *arguments: Any) -> Result | None:
    """Return what a function returns in a new process; None if that process runs out of memory."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scripts.bench_train"])  # imports torch once, not in each process
    with ProcessPoolExecutor(1, mp_context=context, initializer=_end_first) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except (BrokenProcessPool, torch.OutOfMemoryError):
            return None


def _end_first() -> None:
    """Ask the kernel to end this process before any other if memory runs out."""
    with suppress(OSError):  # not on Linux
        Path("/proc/self/oom_score_adj").write_text("1000")


def in_turns(wanted: Sequence[Point], count: int, *settings: Any) -> dict[Point, list[Cost]]:
    """Measure every setting ``count`` times, in turns; a setting that runs out of memory is dropped."""
    found: dict[Point, list[Cost]] = {point: [] for point in wanted}
    for number in range(count):
        for point in list(found):
            print(f"round {number + 1}: {point.model}, {point.axis} {point.value}", file=sys.stderr, flush=True)
            cost = isolated(measure, point, *settings)
            if cost is None:
                print("  the process was ended: not enough memory", file=sys.stderr)
                del found[point]
            else:
                found[point].append(cost)
    return found


Curves = dict[str, dict[str, list[tuple[int, float]]]]
"""Axis → kind of cost → (size, median cost) in rising order."""


def curves(found: Mapping[Point, Sequence[Cost]], model: str) -> Curves:
    """Return the medians of one model."""
    made: Curves = {}
    for point in sorted((point for point in found if point.model == model), key=lambda point: point.value):
        for kind in Cost._fields:
            median = statistics.median(getattr(cost, kind) for cost in found[point])
            made.setdefault(point.axis, {}).setdefault(kind, []).append((point.size, median))
    return made


def table(found: Curves) -> Iterator[str]:
    """Yield the lines of a model's table."""
    yield "| varied | range | cost | first … last | exponent | of the last two | off a line |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for axis, costs in found.items():
        for kind, curve in costs.items():
            sizes, values = zip(*curve, strict=True)
            if len(curve) < 2 or min(values) <= 0:
                continue
            figures = f"{exponent(sizes, values):.2f} | {exponent(sizes[-2:], values[-2:]):.2f}"
            spread = f"{values[0]:.3g} … {values[-1]:.3g}"
            yield (
                f"| {axis} | {_size(axis, sizes[0])} to {_size(axis, sizes[-1])} | {NAMES[kind]} | {spread} "
                f"| {figures} | {bend(sizes, values):.0%} |"
            )


def _size(axis: str, size: int) -> str:
    return f"{round(size**0.5)}²" if axis == "pixels" else str(size)


def draw(found: Mapping[str, Curves], path: Path) -> None:
    """Draw time (above) and memory (below) over every axis, all logarithmic; dotted lines: proportional to the size."""
    axes = list(dict.fromkeys(axis for one in found.values() for axis in one))
    figure, panels = figure_of(2, len(axes), 3.8 * len(axes), 5.4)
    for line, unit in zip(panels, ("seconds", "mib"), strict=True):
        for panel, axis in zip(line, axes, strict=True):
            for colour, (model, one) in zip(COLOURS, found.items(), strict=False):
                for part, style in (("forward", "--"), ("step", "-")):
                    if curve := one.get(axis, {}).get(f"{part}_{unit}"):
                        sizes, values = zip(*curve, strict=True)
                        panel.plot(sizes, values, f"o{style}", color=colour, markersize=3, label=f"{model}, {part}")
                        guide = [values[-1] * size / sizes[-1] for size in sizes]
                        panel.plot(sizes, guide, ":", color="#999999", linewidth=0.8)
            panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds" if unit == "seconds" else "MiB")
            panel.set_xticks(sizes, [f"{round(size**0.5)}²" if axis == "pixels" else str(size) for size in sizes])
            panel.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            panel.yaxis.set_minor_formatter("")
            panel.yaxis.set_major_formatter("{x:g}")
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, [plain(label) for label in labels], loc="outside lower center", ncols=4, frameon=False)
    save_figure(figure, path)


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--models", nargs="+", default=["run"], help="names in conf/model")
    parser.add_argument("--axes", nargs="+", default=list(AXES), choices=list(AXES), help="what is varied")
    parser.add_argument("--quick", action="store_true", help="few values per axis, one round")
    parser.add_argument("--rounds", type=int, default=3, help="processes per setting; the median is reported")
    parser.add_argument("--repeats", type=int, default=1, help="timed runs per process, after a warm-up run")
    parser.add_argument("--threads", type=int, default=available_cores(), help="threads of torch")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, help="a new folder for scaling.csv and scaling.png")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every model")
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Measure, print one table per model, and write the files."""
    if arguments.out is not None and arguments.out.exists():
        raise UserError(f"--out {arguments.out}: exists already; name a new folder")
    chosen = {axis: values for axis, values in (QUICK if arguments.quick else AXES).items() if axis in arguments.axes}
    settings = (arguments.overrides, arguments.device, arguments.threads, arguments.repeats)
    wanted = points(arguments.models, chosen, arguments.overrides)
    found = in_turns(wanted, 1 if arguments.quick else arguments.rounds, *settings)
    where = f"{arguments.device}, {arguments.threads} threads, torch {torch.__version__}"
    print(f"One image of {SIDE} × {SIDE} px unless stated otherwise; {where}.")
    made = {model: curves(found, model) for model in arguments.models}
    for model, one in made.items():
        print(f"\n{model}\n", *table(one), sep="\n")
    if arguments.out is not None:
        arguments.out.mkdir(parents=True)
        rows = (point._asdict() | cost._asdict() for point, costs in found.items() for cost in costs)
        write_csv(arguments.out / "scaling.csv", rows)
        draw(made, arguments.out / "scaling.png")


if __name__ == "__main__":
    main()
