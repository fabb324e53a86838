"""Compiled loops of weighted F: an exact distance transform and a sliding window, fused.

The squared distance transform takes two passes: down and up the columns, then along each row the lower envelope of the
parabolas (x − v)² + g(v)², that is the lower convex hull of the points (v, v² + g(v)²). Ties go to the smallest column,
then to the upper row, as in SciPy.

All arrays are C-contiguous. Import this module inside functions only: loading Numba takes time.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from src.utils.jit import compiled

REACH = 255
"""Distances in pixels are cut off here, where the weight 2 − ½^(d/5) of an error is 2 within 5e-16."""

FRINGE = 3
"""Half the 7×7 window."""


@compiled(fastmath={"reassoc", "contract", "nsz"})
def weighted_errors(pred, values, floor, target, box, gauss, weights):  # type: ignore[no-untyped-def]
    """Return the sums of weighted F: (error on the object, weighted error off it).

    Args:
        pred: (H, W) indices into `values`, or the prediction itself where that is None.
        values: the prediction at each index.
        floor: a background pixel has an error where `pred > floor`.
        target: (H, W) uint8 with an object.
        box: the object's first row, last row + 1, first column, last column + 1.
        gauss: one axis of the window, from its middle outwards, FRINGE + 1 floats.
        weights: (REACH² + 1,) weight of an error at each squared distance.
    """
    height, width = pred.shape
    top, bottom, left, right = box
    above = _rows_from_above(target, top, left, right)
    below, nearest = np.full(right - left, REACH, np.uint8), np.empty(right - left, np.uint8)
    site, lift = np.empty(right - left, np.int64), np.empty(right - left, np.int64)
    window = np.zeros((2 * FRINGE + 1, right - left + 2 * FRINGE))  # row y of the object's errors is in row y mod 7
    smooth = np.empty(right - left + 2 * FRINGE)
    on_object = off_object = 0.0
    for y in range(height - 1, min(0, top - FRINGE) - 1, -1):
        at_fringe = top - FRINGE <= y < bottom + FRINGE
        errors = window[y % (2 * FRINGE + 1)]
        if at_fringe:
            errors[:] = 0.0
        if y >= 0:
            upwards = above[max(y - top, -1) + 1]
            _step_up(target[y, left:right], upwards, below, nearest)
            if top <= y < bottom:
                _errors_in_row(pred[y, left:right], values, target[y, left:right], errors[FRINGE:-FRINGE])
            start, stop = _span(pred[y], floor)
            if at_fringe:
                start, stop = min(start, max(left - FRINGE, 0)), max(stop, min(right + FRINGE, width))
            x = start
            while x < stop:
                if left <= x < right and nearest[x - left] == 0:
                    x += 1
                    continue
                sites, last = _hull(nearest, left, right, x, site, lift)
                end = min(stop, width if last == right else last)
                off_object += _sum_gap(pred[y], values, x, end, site, lift, sites, weights)
                if at_fringe:
                    _carry(pred, values, y, x, end, left, right, upwards, below, site, lift, sites, errors)
                x = end
        if top <= y + FRINGE < bottom:
            on_object += _sum_in_row(window, smooth, target[y + FRINGE, left:right], y, gauss)
    return on_object, off_object


@njit(inline="always")
def _value(grey, values):  # type: ignore[no-untyped-def]
    if values is None:
        return grey
    return values[grey]


@njit(inline="always")
def _step(marked, rows):  # type: ignore[no-untyped-def]
    """Carry the distances `rows` to the next row: 0 on marked pixels, else one more than before, at most REACH."""
    for x in range(rows.size):
        further = np.uint8(rows[x] + np.uint8(rows[x] != REACH))
        rows[x] = np.uint8(further * (marked[x] ^ 1))  # no branch, so that one instruction handles many pixels


@njit(inline="always")
def _rows_from_above(target, top, left, right):  # type: ignore[no-untyped-def]
    """Return the rows between each pixel and the nearest object pixel at or above it, at most REACH.

    (H − top + 1, box width) uint8: row y ≥ `top` of the image is in row y − `top` + 1; row 0 stands for all rows above
    the object.
    """
    above = np.empty((target.shape[0] - top + 1, right - left), np.uint8)
    above[0] = REACH
    for y in range(1, above.shape[0]):
        before, row = above[y - 1], above[y]
        for x in range(row.size):
            row[x] = before[x]
        _step(target[top + y - 1, left:right], row)
    return above


@njit(inline="always")
def _step_up(marked, above, below, nearest):  # type: ignore[no-untyped-def]
    """Carry `below` (rows to the nearest object pixel at or below) one row up; set `nearest`, the smaller distance."""
    _step(marked, below)
    for x in range(below.size):
        nearest[x] = min(above[x], below[x])


@njit(inline="always")
def _span(row, floor):  # type: ignore[no-untyped-def]
    """Return the first column with `row > floor` and the one after the last; an empty span if there is none."""
    start, stop = 0, row.size
    while start < stop and row[start] <= floor:
        start += 1
    while stop > start and row[stop - 1] <= floor:
        stop -= 1
    return (start, stop) if start < stop else (row.size, 0)


@njit(inline="always")
def _hull(nearest, left, right, x, site, lift):  # type: ignore[no-untyped-def]
    """Find the nearest object pixels for the run of background around column x of a row.

    Columns v that are nearest for some pixel are stored in `site`, v² + g(v)² in `lift`. Only the object's columns and
    the object pixels at both ends of the run matter. Returns the number of sites, and the end of the run (`right` if no
    object pixel ends it).
    """
    v = min(max(x, left), right)
    while v > left:
        v -= 1
        if nearest[v - left] == 0:
            break
    count = 0
    while v < right:
        g = np.int64(nearest[v - left])
        if g != REACH:
            height = v * v + g * g
            while count >= 2 and (lift[count - 1] - lift[count - 2]) * (v - site[count - 1]) >= (
                height - lift[count - 1]
            ) * (site[count - 1] - site[count - 2]):
                count -= 1
            site[count], lift[count] = v, height
            count += 1
        if g == 0 and v > x:
            break
        v += 1
    return count, v


@njit(inline="always")
def _border(site, lift, sites, k, end):  # type: ignore[no-untyped-def]
    """Return the first column, at most `end`, that is nearer to site k + 1 than to site k."""
    if k + 1 == sites:
        return end
    return min(end, (lift[k + 1] - lift[k]) // (2 * (site[k + 1] - site[k])) + 1)


@njit(inline="always")
def _sum_gap(row, values, x, end, site, lift, sites, weights):  # type: ignore[no-untyped-def]
    """Return the sum of the weighted errors of columns x … end − 1."""
    total = 0.0
    if sites == 0:
        for i in range(x, end):
            total += _value(row[np.uintp(i)], values)
        return 2 * total
    furthest = np.int64(weights.size - 1)
    for k in range(sites):
        v = site[k]
        lifted = lift[k] - v * v
        stop = _border(site, lift, sites, k, end)
        for i in range(x, stop):
            squared = min((i - v) * (i - v) + lifted, furthest)
            # Unsigned: a signed index could be negative, so it would be checked, and no vector load would be used.
            total += _value(row[np.uintp(i)], values) * weights[np.uintp(squared)]
        x = max(x, stop)
    return total


@njit(inline="always")
def _carry(pred, values, y, x, end, left, right, above, below, site, lift, sites, errors):  # type: ignore[no-untyped-def]
    """Give background pixels within FRINGE of the object the error of their nearest object pixel."""
    for k in range(sites):
        v = site[k]
        if lift[k] - v * v <= 2 * FRINGE * FRINGE:
            up, down = np.int64(above[v - left]), np.int64(below[v - left])
            carried = 1.0 - _value(pred[y - up if up <= down else y + down, v], values)
            start = max(x, v - FRINGE - 1, left - FRINGE)
            if k > 0:
                start = max(start, _border(site, lift, sites, k - 1, end))
            for i in range(start, min(_border(site, lift, sites, k, end), v + FRINGE + 2, right + FRINGE)):
                errors[i - left + FRINGE] = carried


@njit(inline="always")
def _errors_in_row(row, values, marked, errors):  # type: ignore[no-untyped-def]
    for x in range(row.size):
        errors[x] = (1.0 - _value(row[x], values)) * marked[x]


@njit(inline="always")
def _sum_in_row(window, smooth, marked, y, gauss):  # type: ignore[no-untyped-def]
    """Return Σ min(E, E averaged over the window of rows y … y + 6) over the object's pixels in row y + FRINGE."""
    a, b, c, d, e, f, g = y % 7, (y + 1) % 7, (y + 2) % 7, (y + 3) % 7, (y + 4) % 7, (y + 5) % 7, (y + 6) % 7
    g0, g1, g2, g3 = gauss
    for x in range(smooth.size):
        smooth[x] = (
            g0 * window[d, x]
            + g1 * (window[c, x] + window[e, x])
            + g2 * (window[b, x] + window[f, x])
            + g3 * (window[a, x] + window[g, x])
        )
    total = 0.0
    for x in range(marked.size):
        mean = (
            g0 * smooth[x + 3]
            + g1 * (smooth[x + 2] + smooth[x + 4])
            + g2 * (smooth[x + 1] + smooth[x + 5])
            + g3 * (smooth[x] + smooth[x + 6])
        )
        total += min(window[d, x + FRINGE], mean) * marked[x]
    return total
