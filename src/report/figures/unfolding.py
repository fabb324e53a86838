"""One image's unfolding as a picture, one row per stage: inputs and results of the closed-form steps."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from src.models.diagnostics import mask_step_parts
from src.models.outputs import RUNOutput
from src.models.released.network import ReleasedNetwork
from src.models.resample import pool
from src.models.run import RUN
from src.models.sofs import reversed_mask
from src.report.figures.figure import plain, save_figure
from src.report.figures.mosaic import Tile, mosaic

StagedNetwork = RUN | ReleasedNetwork
"""Networks whose stages can be drawn."""

INCHES = 1.3
SMALLEST_LIMIT = 1e-3
"""Smallest limit of the colour scale: the noise of a step that changes nothing must not look like evidence."""

CLOSING = r"$\hat{M}_{K+1}$"


class _Panel(NamedTuple):
    title: str
    picture: Tensor  # (h, w) or (h, w, 3)
    signed: bool = False


@torch.no_grad()
def draw_unfolding(
    path: Path, net: StagedNetwork, image: Tensor, name: str, truth: Tensor | None = None, photograph: bool = True
) -> None:
    """Write a PNG with one row per stage k: M_{k−1}, the step to M̂_k and its parts, w_k, R_{k−1}, M_k, E_k, B_k, Ĉ_k.

    A closing step has its own row, with M̂_{K+1} in place of M_k. All steps share one colour scale; the caption states
    it. The parts are those of :func:`src.models.diagnostics.mask_step_parts`; without a mask step (``fpn_ds``) there
    are none. For a network whose stages only have masks, a row shows M_{k−1} and M_k.

    Args:
        path: the file to write.
        net: a network in evaluation mode.
        image: (3,S,S) in [0,1], at the network's input size.
        name: of the image, for the caption.
        truth: G, (h,w) of any size; None: not shown.
        photograph: False leaves out the panels that show the photograph: image, B_k and Ĉ_k.
    """
    rows = _rows(net, image[None], truth, photograph)
    steps = [panel.picture.abs().flatten() for row in rows for panel in row if panel.signed]
    limit = max(SMALLEST_LIMIT, torch.cat(steps).quantile(0.998).item()) if steps else SMALLEST_LIMIT
    tiles = [[_tile(panel, limit) for panel in row] for row in rows]
    labels = ["closing" if row[-1].title == CLOSING else f"stage {k}" for k, row in enumerate(rows, start=1)]
    words = (
        f"{plain(name)}: the step of the mask and its parts, red up and blue down, full colour at ±{limit:.2g}"
        if steps
        else plain(name)
    )
    save_figure(mosaic(tiles, labels, f"{words}; masks and weights: white is 1", INCHES), path)


def _tile(panel: _Panel, limit: float) -> Tile:
    picture = panel.picture.numpy()
    return Tile(panel.title, picture, (-limit, limit), "RdBu_r") if panel.signed else Tile(panel.title, picture)


def _rows(net: StagedNetwork, image: Tensor, truth: Tensor | None, photograph: bool) -> list[list[_Panel]]:
    output: RUNOutput = net(image)
    start = [_Panel("image", _colour(image))] if photograph else []
    start += [_Panel("truth", truth.float().cpu())] if truth is not None else []
    if isinstance(net, RUN):
        return [[*start, *row] for row in _unfolding_rows(net, image, output, photograph)]
    masks = [_grey(logits.sigmoid()) for logits in output.stage_logits]
    return [[*start, _Panel("$M_{k-1}$", before), _Panel("$M_k$", after)] for before, after in pairwise(masks)]


def _unfolding_rows(net: RUN, image: Tensor, output: RUNOutput, photograph: bool) -> list[list[_Panel]]:
    parts = mask_step_parts(net, image, output)
    image = pool(image.float(), net.unfold_stride)
    mask, rows = output.coarse_logits.sigmoid(), []
    background = (1 - mask) * image
    for k, mask_hat in enumerate(output.masks_hat):
        row = [_Panel("$M_{k-1}$", _grey(mask))]
        if parts:
            row.append(_Panel(r"$\hat{M}_k - M_{k-1}$", _grey(mask_hat - mask), signed=True))
            row.append(_Panel("by U's evidence", _grey(parts[k].evidence), signed=True))
            row.append(_Panel(r"by $\lambda$'s memory", _grey(parts[k].memory), signed=True))
            row.append(_Panel(r"by $\nabla S$", _grey(parts[k].gradient), signed=True))
            row.append(_Panel("by $L_S$", _grey(parts[k].sparsity), signed=True))
            row.append(_Panel("$w_k$", _grey(parts[k].weight)))
        reverse = reversed_mask(image, background, mask) if net.background_evidence else 1 - mask
        row.append(_Panel("$R_{k-1}$", _grey(reverse)))
        rows.append(row)
        if k == len(output.stages):
            row.append(_Panel(CLOSING, _grey(mask_hat)))
            break
        stage = output.stages[k]
        row.append(_Panel("$M_k$", _grey(stage.mask)))
        if stage.edge_logits is not None:
            row.append(_Panel("$E_k$", _grey(stage.edge_logits.sigmoid())))
        mask, background = stage.mask, output.backgrounds[k]
        if photograph:
            row.append(_Panel("$B_k$", _colour(background)))
        if photograph and stage.reconstruction is not None:
            row.append(_Panel(r"$\hat{C}_k$", _colour(stage.reconstruction)))
    return rows


def _grey(map_: Tensor) -> Tensor:
    return map_[0, 0].float().cpu()


def _colour(picture: Tensor) -> Tensor:
    return picture[0].float().cpu().permute(1, 2, 0)
