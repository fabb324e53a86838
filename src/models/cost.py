"""The cost of a network: parameters and multiply-accumulates of each part, time and memory of a batch."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import src.ops.scan.flops  # noqa: F401  so that the counter includes the scan
from src.utils.memory import peak_gib, reset_peak


@dataclass(frozen=True)
class PartCost:
    """One part of a network (a direct child; a module list counts as one); `gmacs` for one image."""

    part: str
    parameters: int
    gmacs: float


@dataclass(frozen=True)
class Timing:
    """Seconds of each timed run of one batch, and peak memory in GiB."""

    mode: str
    seconds: tuple[float, ...]
    peak_gib: float

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Return lower quartile, median and upper quartile, in seconds."""
        if len(self.seconds) == 1:
            return (self.seconds[0],) * 3
        low, middle, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, middle, high


def count_parts(net: nn.Module, image: Tensor) -> list[PartCost]:
    """Return parameters and GMACs of every part of ``net`` for ``image`` (1,3,H,W), with the total as the last entry.

    The multiply-accumulates of convolutions, matrix products and the selective scan are counted (as half the operations
    that torch's counter finds); element-wise operations, normalisation, pooling and resizing are not, as everywhere in
    the field. Attention is counted as its two matrix products.
    """
    operations: dict[str, int] = {}
    starts: list[int] = []
    hooks = []
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        for name, child in net.named_children():
            for module in child if isinstance(child, nn.ModuleList) else [child]:

                def leave(*_: Any, name: str = name) -> None:
                    operations[name] = operations.get(name, 0) + counter.get_total_flops() - starts.pop()

                hooks.append(module.register_forward_pre_hook(lambda *_: starts.append(counter.get_total_flops())))
                hooks.append(module.register_forward_hook(leave))
        try:
            net(image)
        finally:
            for hook in hooks:
                hook.remove()
    parts = [
        PartCost(name, sum(p.numel() for p in child.parameters()), operations.get(name, 0) / 2e9)
        for name, child in net.named_children()
        if any(True for _ in child.parameters())
    ]
    return [*parts, PartCost("total", sum(p.numel() for p in net.parameters()), counter.get_total_flops() / 2e9)]


def measure(mode: str, run: Callable[[], object], device: torch.device, warmup: int, repeats: int) -> Timing:
    """Time ``repeats`` calls of ``run``, after ``warmup`` calls that are not timed; wait for the GPU after each."""
    for _ in range(warmup):
        run()
    _wait(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        reset_peak()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        _wait(device)
        seconds.append(time.perf_counter() - start)
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()
    return Timing(mode, tuple(seconds), peak)


def kept_bytes(net: nn.Module, run: Callable[[], Tensor]) -> int:
    """Return the bytes of all tensors that ``run``, which returns one to differentiate, keeps for its backward pass.

    Weights of ``net`` do not count, shared memory counts once.
    """
    weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        result = run()
    if not result.requires_grad:
        raise ValueError("the result has no gradient")
    return sum(storage.nbytes() for storage in kept.values())


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
