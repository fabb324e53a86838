"""One row of a gallery out of a network: the stages of an image, from the photograph to the errors of the final mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.models.outputs import RUNOutput, masks_at_size
from src.module import COSModule
from src.report.figures.gallery import Panel, error_map


@torch.no_grad()
def network_panels(module: COSModule, sample: Mapping[str, Any]) -> list[Panel]:
    """Image, truth, M_0 … M_K, M̂_{K+1} where the network closes with it, the final map's errors, E_K, B_K and the residual r_{K−1}.

    Args:
        sample: ``image`` (3, S, S), ``mask`` (h, w) and, where there is a field of view, ``valid`` (h, w).
    """
    output = module.eval()(sample["image"][None].to(module.device))
    image, truth = sample["image"], sample["mask"]
    (final,) = masks_at_size(output.mask_logits, [truth])
    valid = sample["valid"].numpy() if "valid" in sample else None
    errors = error_map(final.cpu().numpy(), truth.numpy(), module.val_metrics.protocol, valid)
    panels = [("image", _colour(image)), ("truth", truth.float().numpy())]
    if not isinstance(output, RUNOutput):
        return [*panels, ("M", _grey(output.mask[0])), ("errors", errors)]
    last, stage = len(output.stages), output.stages[-1]
    panels += [(f"$M_{k}$", _grey(logits[0].sigmoid())) for k, logits in enumerate(output.stage_logits)]
    if output.closing is not None:
        panels.append((f"$\\hat{{M}}_{{{last + 1}}}$", _grey(output.closing[0])))
    panels.append(("errors", errors))
    if stage.edge_logits is not None:
        panels.append((f"$E_{last}$", _grey(stage.edge_logits[0].sigmoid())))
    if stage.background is not None:
        panels.append((f"$B_{last}$", _colour(stage.background[0])))
    if stage.residual is not None:
        panels.append((f"$r_{last - 1}$", _grey(stage.residual[0])))
    return panels


def _grey(map_: Tensor) -> np.ndarray:
    return map_[0].float().cpu().numpy()


def _colour(picture: Tensor) -> np.ndarray:
    return picture.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
