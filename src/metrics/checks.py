"""Turns what a caller hands over into pairs of arrays, or says everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from src.metrics.functional.arrays import BoolMap
from src.metrics.functional.protocol import PROTOCOLS
from src.utils.errors import UserError

Map = torch.Tensor | NDArray[Any]
"""One map: (H, W), or (1, H, W)."""

Maps = torch.Tensor | NDArray[Any] | Sequence[Map]
"""Many maps: a list of maps of any sizes, or a batch (N, H, W) or (N, 1, H, W)."""


def check_protocol(protocol: str) -> None:
    """Raises `UserError` unless the protocol is a known one."""
    if protocol not in PROTOCOLS:
        raise UserError(f"metrics.protocol={protocol!r} is unknown; choose one of: {', '.join(PROTOCOLS)}")


def paired_maps(preds: Maps, targets: Maps) -> list[tuple[NDArray[np.floating], BoolMap]]:
    """Pairs of (H, W) arrays in host memory: the prediction floating (its own precision), the target bool.

    Raises:
        UserError: lists every problem of every map: different lengths or sizes, wrong types, no pixels, NaN, values
            outside [0, 1].
    """
    problems: list[str] = []
    pred_maps = _split(preds, "predictions", problems)
    target_maps = _split(targets, "targets", problems)
    if len(pred_maps) != len(target_maps) and not problems:
        problems.append(f"{len(pred_maps)} predictions but {len(target_maps)} targets")
    pairs = []
    for index, (pred, target) in enumerate(zip(pred_maps, target_maps, strict=False)):
        faults = [*_pred_faults(pred), *_target_faults(target)]
        if pred.shape != target.shape:
            faults.append(f"prediction is {_size(pred)}, target is {_size(target)}; resize the prediction to the mask's size")
        problems.extend(f"map {index}: {fault}" for fault in faults)
        pairs.append((pred, target))
    if problems:
        raise UserError("These maps cannot be scored, and nothing of this call was counted:", problems)
    return pairs


def _split(maps: Maps, name: str, problems: list[str]) -> list[NDArray[Any]]:
    if isinstance(maps, (torch.Tensor, np.ndarray)) and maps.ndim not in (3, 4):
        problems.append(f"{name} have shape {tuple(maps.shape)}; expected a list of (H, W) maps, (N, H, W) or (N, 1, H, W)")
        return []
    if isinstance(maps, torch.Tensor):
        maps = maps.detach().cpu()  # one transfer, not one a map
    return [_to_array(single) for single in maps]


def _to_array(single: Map) -> NDArray[Any]:
    if isinstance(single, torch.Tensor):
        single = single.detach()
        # NumPy has no bfloat16.
        single = (single.float() if single.dtype == torch.bfloat16 else single).cpu().numpy()
    array = np.asarray(single)
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _pred_faults(pred: NDArray[Any]) -> list[str]:
    if pred.ndim != 2 or pred.size == 0:
        return [f"prediction has shape {pred.shape}; expected (H, W) with at least one pixel"]
    if not np.issubdtype(pred.dtype, np.floating):
        return [f"prediction is {pred.dtype}; expected floats in [0, 1] (divide 8-bit grey values by 255)"]
    low, high = float(pred.min()), float(pred.max())
    if np.isnan(low):
        return [f"prediction has {np.count_nonzero(np.isnan(pred))} NaN of {pred.size} pixels"]
    if low < 0 or high > 1:
        return [f"prediction runs from {low:.6g} to {high:.6g}; expected [0, 1] (apply the sigmoid to logits)"]
    return []


def _target_faults(target: NDArray[Any]) -> list[str]:
    if target.ndim != 2 or target.size == 0:
        return [f"target has shape {target.shape}; expected (H, W) with at least one pixel"]
    if target.dtype != np.bool_:
        return [f"target is {target.dtype}; expected bool (`mask > 128` of an 8-bit mask)"]
    return []


def _size(array: NDArray[Any]) -> str:
    return "×".join(map(str, array.shape))
