"""What happens to a prediction before it is measured: the protocols `field`, `raw` and `released`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import BoolMap, FloatMap

PROTOCOLS = ("field", "raw", "released")
"""`field`: 8-bit rounding, then min–max per map. `raw`: the map as given. `released`: :func:`stretch`, then `field`."""

STRETCH_FLOOR = 1e-8


def to_8bit(pred: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Return the grey values 0…255 of `pred` (values in [0, 1]) as a PNG: `round(255 p)`, ties to even, in float64.

    Maps saved with this function and scored from the files give the same numbers as the maps scored in memory.

    >>> import numpy as np
    >>> to_8bit(np.array([0.0, 0.1, 0.5, 1.0]))
    array([  0,  26, 128, 255], dtype=uint8)
    """
    from src.metrics.functional.kernels import round_to_levels

    exact = np.float32 if pred.dtype in (np.float16, np.float32) else np.float64
    levels = np.empty(pred.shape, np.uint8)
    round_to_levels(np.require(pred, exact, ["C", "W"]).ravel(), levels.ravel())
    return levels


def stretch(pred: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the map as the authors of RUN save it: (p − min p) / (max p − min p + 10⁻⁸) in float32, constant maps 0.

    Their test script does so after σ, at the mask's size. Practically every map then spans 0 to 255, even one in which
    nothing is found.

    >>> import numpy as np
    >>> stretch(np.array([[0.2, 0.4, 0.6]])).round(4).tolist()
    [[0.0, 0.5, 1.0]]
    """
    single = np.asarray(pred, np.float32)
    low, high = single.min(), single.max()
    return (single - low) / (high - low + np.float32(STRETCH_FLOOR))


def prepare(pred: NDArray[np.floating], protocol: str, valid: BoolMap | None = None) -> FloatMap:
    """Return the map that is measured: (H, W) float64 in [0, 1], C order.

    `field` does what the field's toolbox does to a saved map: 8-bit rounding, `im2double`, min–max to [0, 1]; a
    constant map keeps its value. `raw` changes nothing. A `raw` map is only quantised for the curves over 256
    thresholds, where a pixel belongs to bin ⌊255 p⌋ (as in the toolbox; see `counts_at_thresholds`); its adaptive
    thresholds, S, MAE, weighted F, IoU and Dice use full precision. `released` is `field` applied to the map that the
    authors of RUN save (:func:`stretch`).

    With `valid`, (H, W) bool, invalid pixels become 0, and minimum and maximum are taken over the valid ones.

    Source: `prepare_data` of pysodmetrics 1.6.2, a port of MATLAB's `mapminmax(im2double(·))`.

    >>> import numpy as np
    >>> prepare(np.array([[0.8, 0.2, 0.4]]), "field").round(4)
    array([[1.    , 0.    , 0.3333]])
    >>> prepare(np.array([[0.8, 0.2, 0.4]]), "field", np.array([[False, True, True]]))
    array([[0., 0., 1.]])
    """
    if protocol == "raw":
        exact = np.ascontiguousarray(pred, dtype=np.float64)
        return exact if valid is None else np.where(valid, exact, 0.0)
    levels = to_8bit(np.ascontiguousarray(stretch(pred) if protocol == "released" else pred))
    if valid is None:
        return level_values(int(levels.min()), int(levels.max()))[levels]
    inside = levels[valid]
    return np.where(valid, level_values(int(inside.min()), int(inside.max()))[levels], 0.0)


def level_values(low: int, high: int) -> FloatMap:
    """Return the 256 grey values after min–max of a map from `low` to `high`, (256,); k / 255 if it is constant.

    >>> values = level_values(51, 204)
    >>> float(values[51]), float(values[204])
    (0.0, 1.0)
    """
    values = np.arange(256) / 255
    return (values - values[low]) / (values[high] - values[low]) if high > low else values


def adaptive_threshold(pred: FloatMap) -> float:
    """Return `min(2 · mean(pred), 1)`; a pixel at or above it is foreground (Achanta et al., CVPR 2009).

    >>> import numpy as np
    >>> adaptive_threshold(np.array([0.0, 0.25, 0.5]))
    0.5
    """
    return min(2 * float(pred.mean()), 1.0)
