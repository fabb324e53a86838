"""The array types and the one constant that all measures share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatMap = NDArray[np.float64]
"""(H, W) prediction in [0, 1]; also any float64 vector."""

BoolMap = NDArray[np.bool_]
"""(H, W) mask, True on the object."""

EPS = float(np.spacing(1))
"""MATLAB's `eps` (2⁻⁵²), added in the same places as in the field's toolbox."""


def divide(numerator: FloatMap, denominator: FloatMap) -> FloatMap:
    """Return the quotient of two arrays of one shape; 0 where the denominator is 0 (the toolbox's convention)."""
    return np.divide(numerator, denominator, out=np.zeros_like(denominator), where=denominator != 0)
