"""Pictures of the best, the median and the worst images: one row per image, one column per map, errors last."""

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
"""RGB of true negatives, false positives (vermilion), false negatives (sky blue), true positives."""
UNJUDGED = 110
"""Grey value of pixels outside a field of view."""


class Pick(NamedTuple):
    """An image to show, the reason (`best`, `median` or `worst`) and its score."""

    image: str
    words: str
    score: float


def pick_images(results: Sequence[SetScores], measure: str, each: int = 2) -> list[Pick]:
    """Return the best, the median and the worst images by the mean of `measure` over the methods.

    `each`: number of images of each kind; an image is returned once, so few images give fewer picks.
    """
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
    """Write a gallery as PNG; all pictures are drawn square, as a network sees them.

    Args:
        path: the file to write.
        picks: the images, one row each.
        measure: the measure that they were picked by.
        protocol: `field`, `raw` or `released`.
        panels: image → its titles and pictures: maps (h, w) in [0, 1], colours (h, w, 3), residuals (h, w) in ±0.3
            with a title ``$r…$``.
        in_view: only a field of view was judged.
    """
    rows = [[_tile(title, picture) for title, picture in panels(pick.image)] for pick in picks]
    labels = [f"{pick.words} {pick.score:.2f}\n{plain(pick.image)}" for pick in picks]
    words = f"rows by {MEASURES[measure].label}, all drawn square; "
    words += f"errors at 0.5, protocol {protocol}: {error_words(in_view)}"
    if any(tile.colours != "gray" for tile in rows[0]):
        words += "; E edge, B background, r residual (red +0.3, blue −0.3)"
    save_figure(mosaic(rows, labels, words, PANEL_INCHES), path)


def _tile(title: str, picture: np.ndarray) -> Tile:
    return Tile(title, picture, (-0.3, 0.3), "RdBu_r") if title.startswith("$r") else Tile(title, picture)


def error_words(in_view: bool) -> str:
    """Return the legend of `error_map` for captions; `in_view`: there is a field of view."""
    return "white hit, orange false alarm, blue missed" + ", grey outside the field of view" * in_view


def error_map(pred: np.ndarray, truth: np.ndarray, protocol: str, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the errors of the protocol's map above 0.5 (the foreground of `iou`), (h, w, 3) uint8 RGB.

    Hits are white, false alarms orange, misses blue, invalid pixels grey.
    """
    errors = ERROR_COLOURS[2 * truth.astype(np.intp) + (prepare(pred, protocol, valid) > 0.5)]
    if valid is not None:
        errors[~valid] = UNJUDGED
    return errors
