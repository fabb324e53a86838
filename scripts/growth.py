"""Growth of a cost with size: fitted exponent, and distance from a straight line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return p of costs ∝ sizes^p, by least squares of the logarithms; all numbers must be above 0.

    >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
    2.0
    """
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def bend(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the largest distance of a cost from the line a + b·size, relative to the cost.

    The line is fitted to relative distances. An exponent below 1 with a bend of 0 means that the cost has a fixed part.

    >>> round(bend([1, 2, 3], [12, 14, 16]), 6)
    0.0
    """
    values = np.asarray(costs, float)
    line = np.polyfit(sizes, values, 1, w=1 / values)
    return float(np.abs(np.polyval(line, sizes) / values - 1).max())
