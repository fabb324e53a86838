"""Rows of small square pictures in one figure, drawn as one array: an axis for each would cost seconds per report."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from src.report.figures.figure import DPI

GAP, LABEL, TITLE, LINE = 4, 0.34, 0.2, 0.15
"""Pixels between pictures; inches of the row labels, of a line of titles and of a line of the caption."""
POINTS_A_CHARACTER = 0.5
"""Mean width of a character as a share of the font size."""


class Tile(NamedTuple):
    """A picture and its title: (h,w) numbers, shown between the ``limits``, or (h,w,3) colours in [0,1] or uint8."""

    title: str
    picture: np.ndarray
    limits: tuple[float, float] = (0.0, 1.0)
    colours: str = "gray"


def mosaic(
    rows: Sequence[Sequence[Tile]], labels: Sequence[str], caption: str, inches: float, font: float = 9.0
) -> Any:
    """Return a Matplotlib figure with one row of tiles per label.

    A title is left out if the tile above has the same one.

    Args:
        rows: the tiles; rows may differ in length.
        labels: a text beside each row.
        caption: a text below, wrapped to the figure's width.
        inches: the side of a tile.
        font: size of the titles in points; labels and caption are smaller.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    side, columns = round(inches * DPI), max(map(len, rows))
    width = round(LABEL * DPI) + columns * (side + GAP)
    small = font - 2
    lines = textwrap.wrap(caption, max(12, int(width / DPI * 72 / (small * POINTS_A_CHARACTER))))
    titled = [
        [j >= len(before) or tile.title != before[j].title for j, tile in enumerate(row)]
        for before, row in zip([[], *rows], rows, strict=False)
    ]
    tops = np.cumsum([round(TITLE * DPI) * any(new) + (side + GAP) * (i > 0) for i, new in enumerate(titled)])
    height = int(tops[-1]) + side + GAP + round((len(lines) * LINE + 0.05) * DPI)
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = plt.figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    for top, row, label, new in zip(tops.tolist(), rows, labels, titled, strict=True):
        figure.text(LABEL / 2 * DPI / width, 1 - (top + side / 2) / height, label, **_label_style(label, small))
        for j, tile in enumerate(row):
            left = round(LABEL * DPI) + j * (side + GAP)
            canvas[top : top + side, left : left + side] = _drawn(tile, side)
            if new[j]:
                where = (left + side / 2) / width, 1 - (top - 4) / height
                figure.text(*where, tile.title, fontsize=font, ha="center", va="bottom")
    figure.text(0.5, 0.03 * DPI / height, "\n".join(lines), fontsize=small, color="#555555", ha="center", va="bottom")
    figure.figimage(canvas, origin="upper", zorder=-1)
    return figure


def _label_style(label: str, size: float) -> dict[str, Any]:
    longest = max(map(len, label.split("\n")))
    return {
        "fontsize": min(size, 150 / longest),
        "rotation": 90,
        "ha": "center",
        "va": "center",
        "multialignment": "center",
    }


def _drawn(tile: Tile, side: int) -> np.ndarray:
    """Return the tile as (side, side, 3) uint8, shrunk by area averaging or enlarged bilinearly."""
    picture = tile.picture
    if picture.dtype != np.uint8:
        picture = picture.astype(np.float32)
    smaller = picture.shape[0] > side or picture.shape[1] > side
    picture = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    if picture.ndim == 3:
        return picture if picture.dtype == np.uint8 else np.rint(picture.clip(0, 1) * 255).astype(np.uint8)
    import matplotlib as mpl

    low, high = tile.limits
    return mpl.colormaps[tile.colours](((picture - low) / (high - low)).clip(0, 1), bytes=True)[..., :3]
