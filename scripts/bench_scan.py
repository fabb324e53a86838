"""Time, memory and exactness of the selective scan's backends, against the plain loop in the same run.

    python -m scripts.bench_scan [--lengths 144 576 2304 9216] [--threads 2] [--repeats 7]

The setting is that of one scan of a map: batch 1, 4 groups (directions) of 128 channels, 16 states, Δ through bias and
softplus, D. The loop (over `unbind`, as fast as eager torch gets) runs on one torch thread: a second one would only
wait. Times are the best of several runs; ratios compare within this run, on this machine. "recorded": with gradients
enabled, as in training. Memory: growth of a separate process beyond its inputs, divided by the bytes of u. Errors:
against the loop in float64, relative to the largest value, for y and for the worst of all gradients.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from src.cli.script import ScriptParser
from src.ops import available_backends, selective_scan
from src.ops.scan import KERNELS

GROUPS, WIDTH, STATES = 4, 128, 16


def inputs(length: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Return u, delta, A, B, C, D, delta_bias, with A and Δ (10⁻³ to 10⁻¹) as at the start of a training."""
    generator = torch.Generator().manual_seed(length)
    rows = GROUPS * WIDTH

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    step = torch.exp(torch.rand(rows, generator=generator) * 4.6 - 6.9)
    values = [
        normal(1, rows, length),
        normal(1, rows, length) * 0.5,
        -torch.arange(1.0, STATES + 1).repeat(rows, 1),
        normal(1, GROUPS, STATES, length),
        normal(1, GROUPS, STATES, length),
        normal(rows),
        step + torch.log(-torch.expm1(-step)),
    ]
    return [value.to(device, dtype) for value in values]


def scan(backend: str, arguments: list[Tensor]) -> Tensor:
    """Return y, (1, 512, L)."""
    u, delta, A, B, C, D, delta_bias = arguments
    return selective_scan(u, delta, A, B, C, D, delta_bias, delta_softplus=True, backend=backend)


def run(backend: str, arguments: list[Tensor], backward: bool) -> list[Tensor]:
    """Return y, and with ``backward`` the gradients of the sum of squares / 2."""
    y = scan(backend, arguments)
    return [y, *torch.autograd.grad(y, arguments, y.detach())] if backward else [y]


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
    run(backend, _with_gradients(inputs(144, device)), backward=True)
    arguments = _with_gradients(inputs(length, device))
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


def _with_gradients(arguments: list[Tensor]) -> list[Tensor]:
    return [x.requires_grad_() for x in arguments]


def errors(backend: str, arguments: list[Tensor], exact: list[Tensor]) -> tuple[float, float]:
    """Return the error of y and the largest error of the gradients, for the cotangent of the float64 run."""
    y = scan(backend, arguments)
    got = [y, *torch.autograd.grad(y, arguments, exact[0].to(y.dtype))]
    each = [((a - b).abs().max() / b.abs().max()).item() for a, b in zip(got, exact, strict=True)]
    return each[0], max(each[1:])


def rows(length: int, device: str, threads: int, repeats: int) -> Iterator[list[str]]:
    """Yield one row of the table per backend, the loop first."""
    torch.set_num_threads(1)
    exact = run("loop", _with_gradients(inputs(length, device, torch.float64)), backward=True)
    loop: list[float] = []
    usable = [name for name, reason in available_backends().items() if reason is None]
    on = KERNELS | {"mamba_ssm": "cuda"}
    for backend in [name for name in usable if on.get(name, device) == device]:
        torch.set_num_threads(1 if backend == "loop" else threads)
        plain, leaves = inputs(length, device), _with_gradients(inputs(length, device))
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


def main() -> None:
    """Run the command line of :func:`bench`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--lengths", type=int, nargs="+", default=[144, 576, 2304, 9216], help="tokens L")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of every backend but the loop")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs; the best counts")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.run(bench)


def bench(arguments: argparse.Namespace) -> None:
    """Measure and print one table per length, and why a backend is not available."""
    where = (
        torch.cuda.get_device_name() if arguments.device == "cuda" else f"CPU, {arguments.threads} threads (loop: 1)"
    )
    setting = f"batch 1, {GROUPS} × {WIDTH} channels, {STATES} states, float32"
    print(f"Selective scan, {setting}; {where}; torch {torch.__version__}.")
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
