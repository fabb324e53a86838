"""Pictures of the best, the median and the worst images: one row per image, one column per map, its errors at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from src.metrics import MEASURES
from src.metrics.functional import prepare
from src.report.figures.figure import plain, save_figure
from src.report.figures.mosaic import Tile, mosaic
from src.scoring.scores import SetScores

Panel = tuple[str, np.ndarray]
PANEL_INCHES = 1.25
ERROR_COLOURS = np.array([[0, 0, 0], [213, 94, 0], [86, 180, 233], [255, 255, 255]], np.uint8)
"""Of true negatives, false positives (vermilion), false negatives (sky blue), true positives."""
UNJUDGED = 110
"""The grey of pixels outside a field of view."""


class Pick(NamedTuple):
    """An image worth looking at, and why: `best`, `median` or `worst`, and its score."""

    image: str
    words: str
    score: float


def pick_images(results: Sequence[SetScores], measure: str, each: int = 2) -> list[Pick]:
    """The best, the median and the worst images by the mean of `measure` over the methods; all images where there are few."""
    names = [row["image"] for row in results[0].rows]
    values = np.mean([one.values(measure) for one in results], axis=0)
    falling = sorted(
        range(len(names)), key=lambda i: (-values[i] if MEASURES[measure].higher_is_better else values[i], names[i])
    )
    middle = max(0, (len(names) - each) // 2)
    places = {"best": falling[:each], "median": falling[middle : middle + each], "worst": falling[-each:]}
    picks: dict[int, Pick] = {}
    for words, indices in places.items():
        for i in indices:
            picks.setdefault(i, Pick(names[i], words, float(values[i])))
    return list(picks.values())


def save_gallery(
    path: Path,
    picks: Sequence[Pick],
    measure: str,
    protocol: str,
    panels: Callable[[str], list[Panel]],
    in_view: bool = False,
) -> None:
    """Write a PNG; `panels` gives an image's titles and pictures: (h, w) maps in [0,1], (h, w, 3) colours, residuals ``$r…$`` in ±0.3.

    All pictures are drawn square, as a network sees them. `in_view`: only a field of view was judged.
    """
    rows = [[_tile(title, picture) for title, picture in panels(pick.image)] for pick in picks]
    labels = [f"{pick.words} {pick.score:.2f}\n{plain(pick.image)}" for pick in picks]
    words = f"rows by {MEASURES[measure].label}, all drawn square; errors at 0.5, protocol {protocol}: {error_words(in_view)}"
    if any(tile.colours != "gray" for tile in rows[0]):
        words += "; E edge, B background, r residual (red +0.3, blue −0.3)"
    save_figure(mosaic(rows, labels, words, PANEL_INCHES), path)


def _tile(title: str, picture: np.ndarray) -> Tile:
    return Tile(title, picture, (-0.3, 0.3), "RdBu_r") if title.startswith("$r") else Tile(title, picture)


def error_words(in_view: bool) -> str:
    """The colours of `error_map`, for captions; `in_view`: there is a field of view."""
    return "white hit, orange false alarm, blue missed" + ", grey outside the field of view" * in_view


def error_map(pred: np.ndarray, truth: np.ndarray, protocol: str, valid: np.ndarray | None = None) -> np.ndarray:
    """(h, w, 3) uint8: hits white, false alarms orange, misses blue, of the protocol's map above 0.5 (as IoU takes it); grey: not valid."""
    errors = ERROR_COLOURS[2 * truth.astype(np.intp) + (prepare(pred, protocol, valid) > 0.5)]
    if valid is not None:
        errors[~valid] = UNJUDGED
    return errors
