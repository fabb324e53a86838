"""Human correction effort (Qin et al., ECCV 2022): the number of clicks that would correct a prediction."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, generate_binary_structure, label

from src.metrics.functional.arrays import BoolMap
from src.utils.errors import UserError

RELAX = 5
"""Errors thinner than twice this many pixels are ignored."""

TOLERANCE = 2.0
"""Largest distance in pixels between the boundary and the polygon that corrects it."""

_CROSS = generate_binary_structure(2, 1)
_SQUARE = generate_binary_structure(2, 2)


def hce(foreground: BoolMap, target: BoolMap) -> float:
    """Human correction effort of a binarised prediction: a number of clicks, ≥ 0, lower is better.

    It grows with the image size. False regions that survive an erosion by `RELAX` pixels and gaps in the object's
    skeleton must be corrected. A region that touches correct pixels costs the control points of the boundary that they
    share (a polygon within `TOLERANCE` pixels); an isolated one costs one click.

    Source: `HumanCorrectionEffortMeasure` of pysodmetrics 1.6.2 (relax 5, epsilon 2).

    Raises:
        UserError: scikit-image is not installed (its skeleton is the measure's definition).

    >>> import numpy as np
    >>> target = np.zeros((64, 64), dtype=bool)
    >>> target[8:40, 8:40] = True
    >>> blob = np.zeros_like(target)
    >>> blob[46:62, 46:62] = True
    >>> hce(target, target), hce(target | blob, target)
    (0.0, 1.0)
    """
    right = foreground & target
    union = binary_erosion(foreground | target, _CROSS, iterations=RELAX, border_value=1)
    extra = _regrown(foreground & ~target, union, ~target)
    skeleton = skeletonize(target)
    missing = _regrown(target & ~foreground, union, ~foreground) | (skeleton & ~right)
    return float(_clicks(extra, right | missing) + _clicks(missing, ~(right | extra | missing)))


def skeletonize(mask: BoolMap) -> BoolMap:
    """One-pixel-wide skeleton (Zhang and Suen, 1984), by scikit-image.

    >>> import numpy as np
    >>> skeletonize(np.ones((3, 7), dtype=bool)).astype(int)
    array([[0, 0, 0, 0, 0, 1, 0],
           [1, 1, 1, 1, 1, 0, 0],
           [0, 0, 0, 0, 0, 0, 0]])
    """
    try:
        from skimage.morphology import skeletonize as zhang
    except ImportError as error:
        raise UserError(
            "metrics.extra names hce, which needs scikit-image: pip install scikit-image, or leave hce out"
        ) from error
    return np.asarray(zhang(mask), dtype=bool)


def _regrown(fault: BoolMap, union: BoolMap, allowed: BoolMap) -> BoolMap:
    """Return the parts of a false region that are thick, or within `RELAX` steps of a thick part."""
    grown = fault & union
    for _ in range(RELAX):
        grown = binary_dilation(grown, _CROSS) & allowed
    return fault & grown


def _clicks(region: BoolMap, condition: BoolMap) -> int:
    """Count the control points of the boundary where it meets `condition`, plus one per region that never does."""
    import cv2

    contours, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    near = binary_dilation(condition, _CROSS)
    labels, count = label(region, _SQUARE)
    alone = np.ones(count + 1, dtype=bool)
    alone[0] = False
    visited = np.zeros(region.shape, dtype=bool)
    points = 0
    for contour in contours:
        for part in _parts(contour[:, 0], near, visited, labels, alone):
            points += len(cv2.approxPolyDP(np.array(part, dtype=np.int32)[:, None], TOLERANCE, False))
    return points + int(np.count_nonzero(alone))


def _parts(
    contour: NDArray[Any], near: BoolMap, visited: BoolMap, labels: NDArray[Any], alone: BoolMap
) -> list[list[tuple[int, int]]]:
    """Return the runs of (x, y) points of a contour that must be drawn.

    Marks them in `visited`, and their regions as not `alone`.
    """
    parts: list[list[tuple[int, int]]] = []
    part: list[tuple[int, int]] = []
    for x, y in contour.tolist():
        if near[y, x] and not visited[y, x]:
            part.append((x, y))
            visited[y, x] = True
            alone[labels[y, x]] = False
        elif part:
            parts.append(part)
            part = []
    if part:
        parts.append(part)
    if len(parts) > 1:
        (first_x, first_y), (last_x, last_y) = parts[0][0], parts[-1][-1]
        # Where the contour closes, its first part continues its last one.
        if max(abs(first_x - last_x), abs(first_y - last_y)) == 1:
            parts[-1].extend(parts[0][::-1])
            del parts[0]
    return parts
