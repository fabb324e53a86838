"""Time the selective scan of one checkout on request; `scripts.bench_scan --growth` starts one process per checkout.

Only what all versions of the project have is used. Each line of standard input is a JSON list, the arguments of
:func:`seconds`; each line of standard output is the answer.
"""

from __future__ import annotations

import json
import sys
import time
from functools import lru_cache

import torch
from torch import Tensor

from src.ops import selective_scan
from src.utils.memory import keep_freed_memory

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


def with_gradients(arguments: list[Tensor]) -> list[Tensor]:
    """Return the same tensors as leaves that require gradients."""
    return [x.detach().requires_grad_() for x in arguments]


def scan(backend: str, arguments: list[Tensor]) -> Tensor:
    """Return y, (1, 512, L)."""
    u, delta, A, B, C, D, delta_bias = arguments
    return selective_scan(u, delta, A, B, C, D, delta_bias, delta_softplus=True, backend=backend)


def run(backend: str, arguments: list[Tensor], backward: bool) -> list[Tensor]:
    """Return y, and with ``backward`` the gradients of the sum of squares / 2."""
    y = scan(backend, arguments)
    return [y, *torch.autograd.grad(y, arguments, y.detach())] if backward else [y]


_kept_inputs = lru_cache(maxsize=1)(inputs)


def seconds(backend: str, length: int, backward: bool, threads: int, device: str) -> float:
    """Return the seconds of one scan of ``length`` tokens; making the inputs is not timed."""
    torch.set_num_threads(threads)
    arguments = _kept_inputs(length, device)
    if backward:
        arguments = with_gradients(arguments)
    start = time.perf_counter()
    run(backend, arguments, backward)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    keep_freed_memory()
    for line in sys.stdin:
        print(seconds(*json.loads(line)), flush=True)
