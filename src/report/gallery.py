"""The picture that shows the unfolding at work: one row an image, one column a map."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from src.models.outputs import RUNOutput
from src.module import COSModule

Panel = tuple[str, np.ndarray]
PANEL_INCHES = 1.25


@torch.no_grad()
def save_gallery(path: Path, module: COSModule, loader: Iterable[dict[str, Any]], rows: int = 6) -> None:
    """Write a PNG with image, truth, M_0 … M_K, E_K, B_K and the residual map r_{K−1} of the first ``rows`` images."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    module.eval()
    panels: list[list[Panel]] = []
    for batch in loader:
        output = module(batch["image"].to(module.device))
        panels += [_panels(output, i, batch["image"][i], batch["mask"][i]) for i in range(len(batch["image"]))]
        if len(panels) >= rows:
            break
    panels = panels[:rows]
    figure, axes = plt.subplots(
        len(panels),
        len(panels[0]),
        figsize=(PANEL_INCHES * len(panels[0]), PANEL_INCHES * len(panels)),
        squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01),
    )
    for i, (line, row) in enumerate(zip(axes, panels, strict=True)):
        for axis, (title, picture) in zip(line, row, strict=True):
            signed = title.startswith("$r")
            axis.imshow(picture, cmap="RdBu_r" if signed else "gray", vmin=-0.3 if signed else 0, vmax=0.3 if signed else 1, aspect="auto")
            axis.set_axis_off()
            if i == 0:
                axis.set_title(title, fontsize=9)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panels(output: Any, i: int, image: Tensor, truth: Tensor) -> list[Panel]:
    """Titles and pictures of image ``i``: (h, w) maps in [0,1], (h, w, 3) colours in [0,1], r in about ±0.3."""
    panels = [("image", _colour(image)), ("truth", truth.float().numpy())]
    if not isinstance(output, RUNOutput):
        return [*panels, ("M", _grey(output.mask[i]))]
    last = len(output.stages)
    stage = output.stages[-1]
    panels += [(f"$M_{k}$", _grey(logits[i].sigmoid())) for k, logits in enumerate(output.stage_logits)]
    if stage.edge_logits is not None:
        panels.append((f"$E_{last}$", _grey(stage.edge_logits[i].sigmoid())))
    panels += [(f"$B_{last}$", _colour(stage.background[i])), (f"$r_{last - 1}$", _grey(stage.residual[i]))]
    return panels


def _grey(map_: Tensor) -> np.ndarray:
    return map_[0].float().cpu().numpy()


def _colour(picture: Tensor) -> np.ndarray:
    return picture.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
