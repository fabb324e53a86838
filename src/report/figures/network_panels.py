"""One row of a gallery, made with a network: an image, its masks by stage and the errors of the final mask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.models.outputs import MaskOutput, RUNOutput, masks_at_size
from src.module import COSModule
from src.prompting import told
from src.report.figures.gallery import Panel, error_map


@torch.no_grad()
def network_panels(module: COSModule, sample: Mapping[str, Any]) -> list[Panel]:
    """Return the pictures of one image: its truth, masks, errors and last unfolding variables.

    In order: image, truth, M_0 … M_K, M̂_{K+1} if the network has a closing step, the final map's errors, E_K, B_K and
    the residual r_{K−1}. Masks and E_K are resized to the truth's size by their logits, as for scoring; B_K and r_{K−1}
    keep the unfolding resolution.

    Args:
        module: the network and the protocol of its validation. If it is tested with prompts, the network gets
            the same ones here.
        sample: ``image`` (3, S, S), ``mask`` (h, w), ``name`` and, if there is a field of view, ``valid`` (h, w).
    """
    output = _output(module.eval(), sample)
    image, truth = sample["image"], sample["mask"]
    final = _full(output.mask_logits, truth)
    valid = sample["valid"].numpy() if "valid" in sample else None
    errors = error_map(final, truth.numpy(), module.val_metrics.protocol, valid)
    panels = [("image", _colour(image)), ("truth", truth.float().numpy())]
    if not isinstance(output, RUNOutput):
        return [*panels, ("M", final), ("errors", errors)]
    last, stage = len(output.stages), output.stages[-1]
    panels += [(f"$M_{k}$", _full(logits, truth)) for k, logits in enumerate(output.stage_logits)]
    if output.closing is not None:
        panels.append((f"$\\hat{{M}}_{{{last + 1}}}$", final))
    panels.append(("errors", errors))
    if stage.edge_logits is not None:
        panels.append((f"$E_{last}$", _full(stage.edge_logits, truth)))
    if stage.background is not None:
        panels.append((f"$B_{last}$", _colour(stage.background[0])))
    if stage.residual is not None:
        panels.append((f"$r_{last - 1}$", stage.residual[0, 0].float().cpu().numpy()))
    return panels


def _output(module: COSModule, sample: Mapping[str, Any]) -> RUNOutput | MaskOutput:
    image = sample["image"][None].to(module.device)
    if module.prompts is None:
        alone: RUNOutput | MaskOutput = module(image)
        return alone
    batch = {name: [sample[name]] for name in ("mask", "name", "valid") if name in sample}
    return told(module.net, {"image": image, **batch}, module.prompts)[0]


def _full(logits: Tensor, truth: Tensor) -> np.ndarray:
    return masks_at_size(logits, [truth])[0].cpu().numpy()


def _colour(picture: Tensor) -> np.ndarray:
    return picture.float().cpu().clamp(0, 1).permute(1, 2, 0).numpy()
