"""Draw the picture of the README: ``python -m scripts.hero_picture PHOTOS --output FILE.webp``.

One row per photograph: the photograph, the stage masks M_0 … M_K and the closing mask, and the object cut out with the
final mask. All masks are enlarged to the size of the photograph. ``PHOTOS`` is a folder with the photographs of
`SCENES`, from Debian's packages lomiri-wallpapers-16.04 and -20.04.
"""

from __future__ import annotations

import argparse
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from src.cli.command import console
from src.cli.script import ScriptParser
from src.inference import Predictor
from src.models.outputs import stage_logits
from src.report.figures.figure import figure_of
from src.utils.errors import UserError
from src.utils.protected import new_file_problem

WEIGHTS = "run-camo-lite0"
PANEL = (640, 480)
"""Width and height of the network's input picture, in pixels."""
WIDTH, QUALITY = 1600, 82
"""Width of the WebP file in pixels, and its quality in per cent."""
COLUMNS, GAP = 3, 0.03
"""Number of stage masks side by side, and the gap between panels as a share of a small panel."""


class Scene(NamedTuple):
    """A photograph and its crop, with the proportions of `PANEL`: left, top and width as shares of the photograph."""

    file: str
    left: float
    top: float
    width: float


SCENES = (
    Scene("Dragonfly_by_Bolly.jpg", 0.38, 0.12, 0.55),
    Scene("friends_by_Aitzol_Berasategi.jpg", 0.0, 0.2, 1.0),
    Scene("seeding_by_Clements_Engelhardt.jpg", 0.05, 0.02, 0.55),
)


class Row(NamedTuple):
    """The photograph (h, w, 3), each mask (h, w) in [0, 1] by name, and the cut-out (h, w, 4)."""

    photograph: np.ndarray
    masks: dict[str, np.ndarray]
    cutout: np.ndarray


def draw_hero(photos: Path, output: Path, weights: str = WEIGHTS) -> None:
    """Write the picture.

    Raises:
        UserError: a photograph is missing, the output would replace one, or the weights are not those of a RUN.
    """
    missing = [scene.file for scene in SCENES if not (photos / scene.file).is_file()]
    if missing:
        raise UserError(f"{photos}: no {', '.join(missing)}")
    if problem := new_file_problem("--output", output, photos.iterdir(), overwrite=True):
        raise UserError(problem)
    predictor = Predictor(weights)
    rows = [segmented(predictor, cropped(photos / scene.file, scene)) for scene in SCENES]
    picture = drawn(rows)
    output.parent.mkdir(parents=True, exist_ok=True)
    picture.save(output, quality=QUALITY, method=6)


def cropped(path: Path, scene: Scene) -> np.ndarray:
    """Return the scene's crop of the photograph, uint8 (h, w, 3) at the size of `PANEL`."""
    with Image.open(path) as file:
        file.draft("RGB", (2 * PANEL[0], 2 * PANEL[0]))
        photograph = file.convert("RGB")
    left, top = scene.left * photograph.width, scene.top * photograph.height
    width = scene.width * photograph.width
    box = (left, top, left + width, top + width * PANEL[1] / PANEL[0])
    return np.asarray(photograph.resize(PANEL, Image.Resampling.LANCZOS, box))


@torch.inference_mode()
def segmented(predictor: Predictor, photograph: np.ndarray) -> Row:
    """Return a photograph with the mask of every stage of the network."""
    network: Any = predictor.network
    logits = stage_logits(network.net(network.to_input([network.shrink(photograph)])))
    size = photograph.shape[:2]
    masks = {name: F.interpolate(one, size, mode="bilinear").sigmoid()[0, 0].numpy() for name, one in logits.items()}
    return Row(photograph, masks, predictor(photograph).cutout())


def drawn(rows: list[Row]) -> Image.Image:
    """Return the figure, transparent between and behind its panels, so that it suits light and dark pages."""
    small = len(rows[0].masks)
    lines = -(-small // COLUMNS)
    across, down = COLUMNS + 2 * lines, lines * len(rows)
    height = WIDTH * down * PANEL[1] / PANEL[0] / across
    figure, axes = figure_of(1, 1, WIDTH / 100, height / 100, layout="none")
    axes[0, 0].remove()
    grid = figure.add_gridspec(down, across, left=0, right=1, bottom=0, top=1, wspace=GAP, hspace=GAP)
    for i, row in enumerate(rows):
        here = slice(i * lines, (i + 1) * lines)
        _show(figure.add_subplot(grid[here, :lines]), row.photograph)
        _show(figure.add_subplot(grid[here, -lines:]), row.cutout)
        for k, (name, mask) in enumerate(row.masks.items()):
            axis = figure.add_subplot(grid[i * lines + k // COLUMNS, lines + k % COLUMNS])
            _show(axis, mask)
            axis.text(0.04, 0.93, _symbol(name), color="white", fontsize=13, va="top", transform=axis.transAxes)
    buffer = BytesIO()
    figure.savefig(buffer, dpi=100, transparent=True)
    return Image.open(buffer)


def _show(axis: Any, picture: np.ndarray) -> None:
    axis.imshow(picture, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="antialiased")
    axis.set_axis_off()


def _symbol(name: str) -> str:
    symbol, _, index = name.partition("_")
    return rf"$\hat{{M}}_{{{index}}}$" if symbol != "M" else f"$M_{{{index}}}$"


def main() -> None:
    """Run the command line of :func:`draw_hero`."""
    parser = ScriptParser(__doc__)
    parser.add_argument("photos", type=Path, help="a folder with the photographs")
    parser.add_argument("--output", type=Path, required=True, help="the picture to write, a .webp file")
    parser.add_argument("--weights", default=WEIGHTS, help="a trained RUN (default: %(default)s)")
    parser.run(_draw)


def _draw(arguments: argparse.Namespace) -> None:
    draw_hero(arguments.photos, arguments.output, arguments.weights)
    console().print(f"Written: {arguments.output}", highlight=False)


if __name__ == "__main__":
    main()
