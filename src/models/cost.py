"""What a network costs: parameters and multiply-accumulates of each part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class PartCost:
    """One part of a network: a direct child, or what a module list holds; `gmacs` of one image."""

    part: str
    parameters: int
    gmacs: float


def count_parts(net: nn.Module, image: Tensor) -> list[PartCost]:
    """Parameters and GMACs of every part of ``net`` for ``image`` (1,3,H,W), and the total as the last.

    Multiply-accumulates of convolutions, matrix products and the selective scan (half the operations that torch's counter finds);
    element-wise operations, normalisation, pooling and resizing are not counted, as everywhere in the field. Attention is
    counted as its two matrix products.
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
