"""The array types and the one constant that all measures share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float64]
"""(H, W) prediction in [0, 1]; also any float64 vector."""

BoolMap = NDArray[np.bool_]
"""(H, W) mask, True on the object."""

EPS = float(np.spacing(1))
"""MATLAB's `eps` (2⁻⁵²), where the field's toolbox puts it."""


def divide(numerator: FloatMap, denominator: FloatMap) -> FloatMap:
    """Quotient of two equal-shaped arrays; 0 where the denominator is 0 (the toolbox' convention for an undefined ratio)."""
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator != 0)
