"""Measure time, memory and errors of the selective scan's backends, against the plain loop in the same run.

    python -m scripts.bench_scan [--lengths 144 576 2304 9216] [--threads 2] [--repeats 9]
    python -m scripts.bench_scan --growth [--against FOLDER]

The setting is that of one scan of a map: batch 1, 4 groups (directions) of 128 channels, 16 states, Δ through bias and
softplus, D. The loop (over `unbind`, as fast as eager torch gets) runs on one torch thread, because a second one would
only wait. Times are the best of several runs; ratios hold within this run, on this machine. "recorded": the forward
pass with gradients enabled, as in training. Memory: growth of a separate process beyond its inputs, divided by the
bytes of u. Errors: against the loop in float64, relative to the largest value, for y and for the worst gradient.

`--growth` times the fastest backend and the loop up to 65,536 tokens, and fits the exponent p of time ∝ L^p. With
`--against` the scan of another checkout takes turns with this one, each in its own process.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import torch
from torch import Tensor

from scripts import scan_timer
from scripts.growth import bend, exponent
from scripts.scan_timer import GROUPS, STATES, WIDTH, inputs, run, scan, with_gradients
from src.cli.script import ScriptParser
from src.ops import available_backends
from src.ops.scan import KERNELS
from src.utils.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
LENGTHS = (144, 576, 2304, 9216)
GROWTH_LENGTHS = (256, 1024, 4096, 16384, 65536)
LOOP_BACKWARD = 16384
"""Longest sequence for which the loop's gradients are timed: the loop keeps 100 KB per token."""
LOOP_RUNS = 2


def best(function: Callable[[], object], repeats: int, device: str) -> float:
    """Return the seconds of the fastest of ``repeats`` calls, after one warm-up call."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def peak_memory(backend: str, length: int, threads: int, device: str) -> float | None:
    """Return the peak bytes of forward + backward beyond the inputs, divided by the bytes of u; None if unknown."""
    if device == "cpu" and not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_memory, (backend, length, threads, device))


def _peak_memory(backend: str, length: int, threads: int, device: str) -> float:
    torch.set_num_threads(threads)
    run(backend, with_gradients(inputs(144, device)), backward=True)
    arguments = with_gradients(inputs(length, device))
    gc.collect()
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run(backend, arguments, backward=True)
        peak = torch.cuda.max_memory_allocated()
    else:
        before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
        run(backend, arguments, backward=True)
        peak = next(
            int(line.split()[1]) * 1024
            for line in Path("/proc/self/status").read_text().splitlines()
            if line.startswith("VmHWM")
        )
    return (peak - before) / arguments[0].nbytes


def errors(backend: str, arguments: list[Tensor], exact: list[Tensor]) -> tuple[float, float]:
    """Return the error of y and the largest error of a gradient, with the cotangent of the float64 run."""
    y = scan(backend, arguments)
    got = [y, *torch.autograd.grad(y, arguments, exact[0].to(y.dtype))]
    each = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(got, exact, strict=True)]
    return each[0], max(each[1:])


def rows(length: int, device: str, threads: int, repeats: int) -> Iterator[list[str]]:
    """Yield one row of the table per backend, the loop first."""
    torch.set_num_threads(1)
    exact = run("loop", with_gradients(inputs(length, device, torch.float64)), backward=True)
    loop: list[float] = []
    usable = [name for name, reason in available_backends().items() if reason is None]
    on = KERNELS | {"mamba_ssm": "cuda"}
    for backend in [name for name in usable if on.get(name, device) == device]:
        torch.set_num_threads(1 if backend == "loop" else threads)
        plain, leaves = inputs(length, device), with_gradients(inputs(length, device))
        count = max(2, repeats // 3) if backend == "loop" else repeats
        times = [
            best(lambda: run(backend, plain, backward=False), count, device),  # noqa: B023
            best(lambda: run(backend, leaves, backward=False), count, device),  # noqa: B023
            best(lambda: run(backend, leaves, backward=True), count, device),  # noqa: B023
        ]
        loop = loop or times
        cells = [f"{1e3 * t:.2f} ms ({rival / t:.1f} ×)" for t, rival in zip(times, loop, strict=True)]
        memory = peak_memory(backend, length, 1 if backend == "loop" else threads, device)
        found = errors(backend, leaves, exact)
        yield [
            backend,
            *cells,
            f"{times[2] / times[0]:.1f}",
            "–" if memory is None else f"{memory:.1f} ×",
            f"{found[0]:.1e}",
            f"{found[1]:.1e}",
        ]


class Timer:
    """A process that times the scan of a checkout (`scripts/scan_timer.py`).

    Args:
        checkout: its folder; any version of the project that has the scan in `src.ops`.
    """

    def __init__(self, checkout: Path) -> None:
        command = [sys.executable, str(Path(scan_timer.__file__))]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self._checkout = checkout
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=checkout, env=environment
        )

    def __enter__(self) -> Timer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def seconds(self, *arguments: str | int | bool) -> float:
        """Return `scan_timer.seconds` of the checkout.

        Raises:
            UserError: the process has ended; it has printed why.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(arguments), file=self._process.stdin, flush=True)
        if not (answer := self._process.stdout.readline()):
            raise UserError(f"{self._checkout}: its scan could not be timed, see above")
        return float(answer)


def timed_growth(
    timers: Sequence[Timer], length: int, threads: int, repeats: int, device: str
) -> tuple[list[list[float]], list[float]]:
    """Return the fastest times of each checkout, and of the first one's loop: forward, forward + backward.

    Checkouts and loop take turns. The loop runs only `LOOP_RUNS` times; where its gradients would fill the memory, its
    forward + backward time is missing.
    """
    kinds = (False, True)
    found: list[list[list[float]]] = [[[] for _ in kinds] for _ in timers]
    loop: list[list[float]] = [[] for backward in kinds if not backward or length <= LOOP_BACKWARD]
    for turn in range(repeats):
        for timer, times in zip(timers, found, strict=True):
            for backward, own in zip(kinds, times, strict=True):
                own.append(timer.seconds("auto", length, backward, threads, device))
        if turn < LOOP_RUNS:
            for backward, own in zip(kinds, loop, strict=False):
                own.append(timers[0].seconds("loop", length, backward, 1, device))
    return [[min(own) for own in times] for times in found], [min(own) for own in loop]


def growth(arguments: argparse.Namespace) -> None:
    """Print the times of every length, their ratios, and how they grow."""
    checkouts = [ROOT, *([arguments.against.resolve()] if arguments.against is not None else [])]
    if missing := [str(folder) for folder in checkouts if not (folder / "src" / "ops" / "__init__.py").is_file()]:
        raise UserError(f"--against {missing[0]}: no checkout of this project, it has no src/ops")
    names = ("forward", "forward + backward")
    header = ["L", *(f"{name} | × loop" for name in names)]
    header += [f"{name}, {arguments.against.name} | × this" for name in names] if arguments.against is not None else []
    print("| " + " | ".join(header) + " |\n" + "|---:" * (2 * len(header) - 1) + "|")
    curves: dict[str, list[float]] = {name: [] for name in names}
    with ExitStack() as stack:
        timers = [stack.enter_context(Timer(folder)) for folder in checkouts]
        for length in arguments.lengths:
            settings = (arguments.threads, arguments.repeats, arguments.device)
            (ours, *others), loop = timed_growth(timers, length, *settings)
            ratios = [f"{slow / fast:.1f}" for slow, fast in zip(loop, ours, strict=False)] + ["–"] * (2 - len(loop))
            cells = [f"{1e3 * own:.2f} ms | {ratio}" for own, ratio in zip(ours, ratios, strict=True)]
            cells += [f"{1e3 * a:.2f} ms | {a / b:.2f}" for one in others for a, b in zip(one, ours, strict=True)]
            print(f"| {length} | " + " | ".join(cells) + " |", flush=True)
            for name, own in zip(names, ours, strict=True):
                curves[name].append(own)
    print()
    if len(arguments.lengths) > 1:
        for name, curve in curves.items():
            print(f"{name}: {growth_in_words(arguments.lengths, curve)}")


def growth_in_words(lengths: Sequence[int], times: Sequence[float]) -> str:
    """Return the exponent over all lengths and over the last two, and the distance from a straight line."""
    last = exponent(lengths[-2:], times[-2:])
    over = f"L = {lengths[0]} to {lengths[-1]}"
    return (
        f"time ∝ L^{exponent(lengths, times):.2f} ({over}; last two: {last:.2f}), off a line {bend(lengths, times):.0%}"
    )


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens L (default: 144 to 9216; --growth: to 65536)")
    parser.add_argument("--growth", action="store_true", help="time alone, of long sequences")
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout, timed in turns with this one")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of every backend but the loop")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs; the best counts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Measure and print one table per length; with ``growth`` one table of all lengths."""
    arguments.growth |= arguments.against is not None
    arguments.lengths = sorted(arguments.lengths or (GROWTH_LENGTHS if arguments.growth else LENGTHS))
    where = (
        torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads (loop: 1)"
    )
    setting = f"batch 1, {GROUPS} × {WIDTH} channels, {STATES} states, float32"
    print(f"Selective scan, {setting}; {where}; torch {torch.__version__}.")
    (growth if arguments.growth else backends)(arguments)


def backends(arguments: argparse.Namespace) -> None:
    """Print one table per length, and why a backend is not available."""
    print("(… ×): times faster than the loop. fb/f: forward + backward over forward.")
    header = [
        "backend",
        "forward",
        "forward, recorded",
        "forward + backward",
        "fb/f",
        "extra memory / u",
        "error y",
        "error gradients",
    ]
    for length in arguments.lengths:
        print(f"\nL = {length}\n\n| " + " | ".join(header) + " |\n|---" + "|---:" * (len(header) - 1) + "|")
        for row in rows(length, arguments.device, arguments.threads, arguments.repeats):
            print("| " + " | ".join(row) + " |", flush=True)
    for name, reason in available_backends().items():
        if reason is not None:
            print(f"\n{name}: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
