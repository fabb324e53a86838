"""Draw the same validation images every few epochs: the output of each stage, and the values of μ, α and λ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from src.loggers.tracker import Tracker
from src.metrics.score_map import score
from src.models.diagnostics import unfolding_values
from src.models.outputs import MaskOutput, RUNOutput, masks_at_size
from src.module import COSModule
from src.report.figures.gallery import Panel, Pick, save_gallery
from src.report.figures.network_panels import network_panels
from src.utils.errors import Problems


class ValidationPanel(Callback):
    """Draws ``epoch_<n>.png``, a row of panels for each of ``images`` validation images.

    The columns are image, ground truth, M_0 … M_K, M̂_{K+1}, errors, E_K, B_K, r_{K−1} and Ĉ_K. Each row shows the S_α
    of its final map, each column the values of μ, α or λ that produced it. The picture is also sent to W&B and
    TensorBoard.

    Args:
        dirpath: folder of the pictures.
        every_n_epochs: draw every so many epochs; 1 draws after every validated epoch.
        images: number of images, spread evenly over the first validation set.

    Raises:
        UserError: ``every_n_epochs`` or ``images`` is below 1.
    """

    def __init__(self, dirpath: str, every_n_epochs: int, images: int = 4) -> None:
        given = {"every_n_epochs": every_n_epochs, "images": images}
        Problems(
            f"callbacks.panel.{name}={value}: must be 1 or more" for name, value in given.items() if value < 1
        ).raise_all()
        self.folder, self.every_n_epochs, self.images = Path(dirpath), every_n_epochs, images

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the panel every ``every_n_epochs`` epochs, on the first rank."""
        # Averaged weights are swapped out in the same hook; `src.pipeline.fit` puts the callback that does it last.
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.sanity_checking or not due or not trainer.is_global_zero:
            return
        assert isinstance(pl_module, COSModule)
        path = self.folder / f"epoch_{trainer.current_epoch:03d}.png"
        draw_panel(path, pl_module, _first(trainer.val_dataloaders).dataset, self.images)
        for logger in trainer.loggers:
            if isinstance(logger, Tracker):
                logger.log_picture("validation", path, trainer.global_step)


def draw_panel(path: Path, module: COSModule, dataset: Any, images: int) -> None:
    """Write the picture.

    Args:
        path: the file to write.
        module: the network and its measures.
        dataset: ``dataset[i]`` is a sample as `network_panels` takes it.
        images: number of images, spread evenly over the data set.
    """
    indices = np.unique(np.linspace(0, len(dataset) - 1, images).round().astype(int))
    rows: dict[str, list[Panel]] = {}
    picks = []
    for i in indices:
        sample = dataset[int(i)]
        rows[sample["name"]], s_alpha = _panels(module, sample)
        picks.append(Pick(sample["name"], "S_α", s_alpha))
    save_gallery(path, picks, "s_alpha", module.val_metrics.protocol, rows.__getitem__)


def _panels(module: COSModule, sample: dict[str, Any]) -> tuple[list[Panel], float]:
    """Return the panels of one image and the S_α of its final map."""
    seen: list[RUNOutput | MaskOutput] = []
    hook = module.net.register_forward_hook(lambda net, images, output: seen.append(output))
    try:
        panels = network_panels(module, sample)
    finally:
        hook.remove()
    (output,) = seen
    with torch.no_grad():
        (final,) = masks_at_size(output.mask_logits, [sample["mask"]])
    s_alpha = score(final.cpu(), sample["mask"], module.val_metrics.protocol, sample.get("valid")).scalars["s_alpha"]
    if isinstance(output, RUNOutput):
        reconstruction = output.stages[-1].reconstruction
        if reconstruction is not None:
            picture = reconstruction[0].float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
            panels.append((f"$\\hat{{C}}_{len(output.stages)}$", picture))
        panels = [
            (_with_values(title, unfolding_values(module.net), len(output.stages)), picture)
            for title, picture in panels
        ]
    return panels, float(s_alpha)


def _with_values(title: str, values: dict[str, float], stages: int) -> str:
    """Add to a title the values of its step: μ and α to ``$M_k$``, λ to ``$B_K$``; shared values go to every stage."""
    for k in range(1, stages + 1):
        shown = {f"$M_{k}$": (("μ", "mu"), ("α", "alpha")), f"$B_{k}$": (("λ", "lambda"),)}.get(title, ())
        for symbol, name in shown:
            value = values.get(f"{name}_{k - 1}", values.get(f"{name}_0"))
            title += "" if value is None else f"\n{symbol} {value:.4f}"
    return title


def _first(loaders: Any) -> Any:
    return loaders[0] if isinstance(loaders, (list, tuple)) else loaders
