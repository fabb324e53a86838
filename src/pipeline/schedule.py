"""The learning-rate schedule of short trainings."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.05, final: float = 0.01) -> LambdaLR:
    """Return a schedule of linear warm-up and half a cosine; every parameter group keeps its own base rate.

    Args:
        optimizer: the optimiser whose rates are scaled.
        total_steps: optimiser steps of the whole training.
        warmup: fraction of the steps spent on warming up.
        final: the last rate as a fraction of the base rate.
    """
    warmup_steps = max(1, round(warmup * total_steps))

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2

    return LambdaLR(optimizer, factor)
