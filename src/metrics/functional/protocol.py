"""What happens to a prediction before it is measured: the `field` and the `raw` protocol."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import FloatMap

PROTOCOLS = ("field", "raw")
"""`field`: 8-bit rounding, then min–max per map. `raw`: the probabilities as given."""


def to_8bit(pred: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The grey values 0…255 that a PNG of `pred` (values in [0, 1]) holds: `round(255 p)`, ties to even, in float64.

    Maps that are saved with this function and scored from the files give the numbers of the maps scored in memory.
    """
    scaled = np.multiply(pred, 255.0, dtype=np.float64)
    return np.rint(scaled, out=scaled).astype(np.uint8)


def prepare(pred: NDArray[np.floating], protocol: str) -> FloatMap:
    """The map that is measured: (H, W) float64 in [0, 1], C order.

    `field` does what the field's toolbox does to a saved map: 8-bit rounding, `im2double`, min–max to [0, 1]; a constant
    map keeps its value. `raw` changes nothing; its maps are quantised in one place only, the 256 threshold curves, where
    a pixel belongs to bin ⌊255 p⌋ (as in the toolbox; see `counts_at_thresholds`). Adaptive thresholds, S, MAE, weighted
    F, IoU and Dice of a `raw` map see its full precision.

    Source: `prepare_data` of pysodmetrics 1.6.2, a port of MATLAB's `mapminmax(im2double(·))`.
    """
    if protocol == "raw":
        return np.ascontiguousarray(pred, dtype=np.float64)
    levels = to_8bit(np.ascontiguousarray(pred))
    low, high = int(levels.min()), int(levels.max())
    values = np.arange(256) / 255
    if high > low:
        values = (values - values[low]) / (values[high] - values[low])
    return values[levels]


def adaptive_threshold(pred: FloatMap) -> float:
    """`min(2 · mean(pred), 1)`; a pixel at or above it is foreground (Achanta et al., CVPR 2009)."""
    return min(2 * float(pred.mean()), 1.0)
