"""The compiled loops over pixels; imported on first use only, compiled once and cached on disk.

Serial and without the GIL, so that maps can be scored in several threads. All arrays are C-contiguous.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

REACH = 255
"""Distances in pixels are cut off here: an error's weight 2 − ½^(d/5) is then 2 within 5e-16."""

FRINGE = 3
"""Half the 7×7 window of weighted F."""

log = logging.getLogger(__name__)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Cached beside the file, or where Numba caches for the user; where neither can be written, compiled in each process."""
    options: dict[str, Any] = {"nogil": True, "fastmath": {"reassoc", "contract", "nsz"}, "error_model": "numpy"}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError as error:
        log.debug("%s is compiled anew in each process: %s", function.__name__, error)
        return njit(**options)(function)


@_compiled
def round_to_levels(pred, levels):  # type: ignore[no-untyped-def]
    """`levels` (n,) uint8 = round(255 · `pred`), ties to even, computed in float64."""
    for i in range(pred.size):
        levels[i] = np.uint8(np.rint(np.float64(pred[i]) * 255.0))


@_compiled
def profile(target, rows, columns):  # type: ignore[no-untyped-def]
    """Adds the object's pixels in each row and each column of `target` (H, W) uint8 to `rows`, `columns` (int32)."""
    for y in range(target.shape[0]):
        total = np.int32(0)
        for x in range(target.shape[1]):
            total += np.int32(target[y, x])
            columns[x] += np.int32(target[y, x])
        rows[y] = total


@_compiled
def count_levels(levels, target, bottom, right, counts):  # type: ignore[no-untyped-def]
    """Adds to `counts` (4, 2, 256) int64: quadrant (top left, top right, …, cut at `bottom`, `right`) × mask × grey value."""
    height, width = levels.shape
    # Neighbours mostly share a grey value; two tables in turn spare the wait for the same counter.
    tables = np.zeros((4, 2, 512), np.int32)
    for y in range(height):
        half = 2 if y >= bottom else 0
        for side in range(2):
            start = right if side else 0
            stop = width if side else right
            even, odd = tables[half + side, 0], tables[half + side, 1]
            for x in range(start, stop - 1, 2):
                even[(np.intp(target[y, x]) << 8) + levels[y, x]] += 1
                odd[(np.intp(target[y, x + 1]) << 8) + levels[y, x + 1]] += 1
            if (stop - start) % 2:
                even[(np.intp(target[y, stop - 1]) << 8) + levels[y, stop - 1]] += 1
    for quadrant in range(4):
        for i in range(512):
            counts[quadrant, i >> 8, i & 255] += tables[quadrant, 0, i] + tables[quadrant, 1, i]


@_compiled
def weighted_errors(pred, values, floor, target, box, gauss, weights):  # type: ignore[no-untyped-def]
    """What weighted F sums: (error on the object, weighted error off it).

    Args:
        pred: (H, W); the prediction is `values[pred]`, or `pred` itself if `values` is None.
        floor: a background pixel has an error where `pred > floor`.
        target: (H, W) uint8 with an object.
        box: the object's first row, last row + 1, first column, last column + 1.
        gauss: (FRINGE + 1,) one axis of the window, from its middle outwards.
        weights: (REACH² + 1,) weight of an error at each squared distance.

    The exact squared distance transform in two passes: down and up the columns, then along each row the lower envelope of
    the parabolas (x − v)² + g(v)², which is the lower convex hull of the points (v, v² + g(v)²). Among equally near object
    pixels the one in the smallest column counts, then the upper one, as in SciPy.
    """
    height, width = pred.shape
    top, bottom, left, right = box
    above = _rows_from_above(target, top, left, right)
    error = _errors_on_object(pred, values, target, top, bottom, left, right)
    below = np.full(right - left, REACH, np.uint8)
    nearest = np.full(right - left, REACH, np.uint8)
    site, lift = np.empty(right - left, np.int64), np.empty(right - left, np.int64)
    false_positive = 0.0
    for y in range(height - 1, -1, -1):
        _step_up(target, y, top, left, above, below, nearest)
        start, stop = _span(pred, y, floor)
        if top - FRINGE <= y < bottom + FRINGE:
            start, stop = min(start, max(left - FRINGE, 0)), max(stop, min(right + FRINGE, width))
        x = start
        while x < stop:
            if left <= x < right and nearest[x - left] == 0:
                x += 1
                continue
            first, last = _gap(nearest, left, right, x)
            sites = _hull(nearest, left, right, first, last, site, lift)
            end = min(stop, width if last == right else last)
            false_positive += _fill(pred, values, y, x, end, top, bottom, left, right, above, below, site, lift, sites, error, weights)
            x = end
    return _sum_on_object(error, target, top, bottom, left, right, gauss), false_positive


@_compiled
def _value(grey, values):  # type: ignore[no-untyped-def]
    if values is None:
        return grey
    return values[grey]


@_compiled
def _rows_from_above(target, top, left, right):  # type: ignore[no-untyped-def]
    """(H − top, box width) uint8: rows down from the nearest object pixel at or above, at most REACH."""
    height = target.shape[0]
    above = np.empty((height - top, right - left), np.uint8)
    for x in range(right - left):
        above[0, x] = 0 if target[top, left + x] else REACH
    for y in range(1, height - top):
        for x in range(right - left):
            step = above[y - 1, x]
            step = step + np.uint8(step != REACH)
            above[y, x] = 0 if target[top + y, left + x] else step
    return above


@_compiled
def _step_up(target, y, top, left, above, below, nearest):  # type: ignore[no-untyped-def]
    """Brings `below` (rows up from the nearest object pixel at or below) and `nearest` (the smaller of both) to row y."""
    for x in range(below.size):
        step = below[x] + np.uint8(below[x] != REACH)
        below[x] = 0 if target[y, left + x] else step
    if y >= top:
        for x in range(below.size):
            nearest[x] = min(above[y - top, x], below[x])
    else:
        nearest[:] = below


@_compiled
def _span(pred, y, floor):  # type: ignore[no-untyped-def]
    """First column of row y with `pred > floor`, and the one after the last; an empty span if there is none."""
    start, stop = 0, pred.shape[1]
    while start < stop and pred[y, start] <= floor:
        start += 1
    while stop > start and pred[y, stop - 1] <= floor:
        stop -= 1
    return (start, stop) if start < stop else (pred.shape[1], 0)


@_compiled
def _gap(nearest, left, right, x):  # type: ignore[no-untyped-def]
    """The run of background around column x, first and last + 1, looked for within the object's columns."""
    first = min(x, right)
    while first > left and nearest[first - 1 - left] != 0:
        first -= 1
    last = max(x, left)
    while last < right and nearest[last - left] != 0:
        last += 1
    return first, min(last, right)


@_compiled
def _hull(nearest, left, right, first, last, site, lift):  # type: ignore[no-untyped-def]
    """The columns v that are nearest for some pixel of the gap, in `site`, and v² + g(v)² in `lift`; returns how many."""
    count = 0
    for v in range(max(first - 1, left), min(last + 1, right)):
        g = np.int64(nearest[v - left])
        if g == REACH:
            continue
        height = v * v + g * g
        while count >= 2 and (lift[count - 1] - lift[count - 2]) * (v - site[count - 1]) >= (height - lift[count - 1]) * (
            site[count - 1] - site[count - 2]
        ):
            count -= 1
        site[count], lift[count] = v, height
        count += 1
    return count


@_compiled
def _fill(pred, values, y, x, end, top, bottom, left, right, above, below, site, lift, sites, error, weights):  # type: ignore[no-untyped-def]
    """Weighted error of columns x … end − 1 of a gap; on the object's fringe also carries the nearest object pixel's error."""
    total = 0.0
    if sites == 0:
        for i in range(x, end):
            total += _value(pred[y, i], values)
        return 2 * total
    fringe = top - FRINGE <= y < bottom + FRINGE
    furthest = np.int64(weights.size - 1)
    for k in range(sites):
        v = site[k]
        lifted = lift[k] - v * v
        stop = end
        if k + 1 < sites:
            stop = min(end, (lift[k + 1] - lift[k]) // (2 * (site[k + 1] - v)) + 1)
        for i in range(x, stop):
            squared = min((i - v) * (i - v) + lifted, furthest)
            total += _value(pred[y, i], values) * weights[np.uintp(squared)]
        if fringe and lifted <= 2 * FRINGE * FRINGE:
            row = y + np.int64(below[v - left])
            if y >= top and above[y - top, v - left] <= below[v - left]:
                row = y - np.int64(above[y - top, v - left])
            carried = error[row - top + FRINGE, v - left + FRINGE]
            for i in range(max(x, v - FRINGE - 1, left - FRINGE), min(stop, v + FRINGE + 2, right + FRINGE)):
                error[y - top + FRINGE, i - left + FRINGE] = carried
        x = max(x, stop)
        if x >= end:
            break
    return total


@_compiled
def _errors_on_object(pred, values, target, top, bottom, left, right):  # type: ignore[no-untyped-def]
    """1 − p on the object, 0 elsewhere, in the object's box and FRINGE more on each side."""
    error = np.zeros((bottom - top + 2 * FRINGE, right - left + 2 * FRINGE))
    for y in range(top, bottom):
        for x in range(left, right):
            if target[y, x]:
                error[y - top + FRINGE, x - left + FRINGE] = 1 - _value(pred[y, x], values)
    return error


@_compiled
def _sum_on_object(error, target, top, bottom, left, right, gauss):  # type: ignore[no-untyped-def]
    """Σ over the object of min(E, E averaged over the window)."""
    total = 0.0
    smooth = np.empty(error.shape[1])
    for y in range(bottom - top):
        for x in range(smooth.size):
            smooth[x] = (
                gauss[0] * error[y + 3, x]
                + gauss[1] * (error[y + 2, x] + error[y + 4, x])
                + gauss[2] * (error[y + 1, x] + error[y + 5, x])
                + gauss[3] * (error[y, x] + error[y + 6, x])
            )
        for x in range(right - left):
            mean = (
                gauss[0] * smooth[x + 3]
                + gauss[1] * (smooth[x + 2] + smooth[x + 4])
                + gauss[2] * (smooth[x + 1] + smooth[x + 5])
                + gauss[3] * (smooth[x] + smooth[x + 6])
            )
            least = min(error[y + FRINGE, x + FRINGE], mean)
            total += least if target[top + y, left + x] else 0.0
    return total
