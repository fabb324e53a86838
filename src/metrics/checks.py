"""Turn a caller's maps into pairs of arrays, or report everything that is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional.arrays import BoolMap
from src.metrics.functional.protocol import PROTOCOLS
from src.metrics.registry import EXTRAS, MEASURES
from src.utils.errors import Problems, UserError

if TYPE_CHECKING:  # a caller with tensors has imported torch; arrays are scored without it
    from torch import Tensor

Map: TypeAlias = "Tensor | NDArray[Any]"
"""One map: (H, W), or (1, H, W)."""

Maps: TypeAlias = "Tensor | NDArray[Any] | Sequence[Map]"
"""Many maps: a list of maps of any sizes, or a batch (N, H, W) or (N, 1, H, W)."""

Validity: TypeAlias = "Maps | Sequence[Map | None] | None"
"""Maps that are False where nothing is judged; None: valid everywhere."""


def check_protocol(protocol: str) -> None:
    """Raise a `UserError` unless the protocol is known."""
    if protocol not in PROTOCOLS:
        raise UserError(f"metrics.protocol={protocol!r} is unknown; choose one of: {', '.join(PROTOCOLS)}")


class Checked(NamedTuple):
    """One map that can be scored, as (H, W) arrays in host memory."""

    pred: NDArray[np.floating]
    """Finite, in [0, 1], in the caller's precision."""
    target: BoolMap
    valid: BoolMap | None
    """False where nothing is judged; None: valid everywhere."""
    image: NDArray[np.uint8] | None = None
    """(H, W, 3) RGB, for the measures that use the image."""


def check_extra(extra: Sequence[str]) -> tuple[str, ...]:
    """Return the names in the order of `EXTRAS`, each once; a `UserError` lists the unknown ones."""
    names = [extra] if isinstance(extra, str) else list(extra)
    unknown = [name for name in names if name not in EXTRAS]
    if unknown:
        raise UserError(
            f"metrics.extra names unknown measures: {', '.join(map(repr, unknown))}. Available: {', '.join(EXTRAS)}"
        )
    return tuple(name for name in EXTRAS if name in names)


def check_workers(workers: int) -> None:
    """Raise a `UserError` unless there is at least one worker."""
    if workers < 1:
        raise UserError(f"metrics.workers={workers} is no number of threads; choose 1 or more")


def checked_maps(
    preds: Maps,
    targets: Maps,
    valid: Validity = None,
    images: Sequence[Map] | None = None,
    extra: tuple[str, ...] = (),
) -> list[Checked]:
    """Return the maps as arrays: float predictions (precision kept), bool targets, bool or no validity, uint8 images.

    Raises:
        UserError: lists every problem of every map: different lengths or sizes, wrong types, no pixels, NaN, values
            outside [0, 1], no valid pixel, no images although a measure of `extra` needs them.
    """
    problems = Problems()
    looking = [name for name in extra if MEASURES[name].needs_image]
    if looking and images is None:
        problems.append(
            f"{', '.join(looking)} of metrics.extra needs the images, (H, W, 3) uint8 RGB: pass them, or leave it out"
        )
    pred_maps = _split(preds, "predictions", problems)
    target_maps = _split(targets, "targets", problems)
    valid_maps = [None] * len(pred_maps) if valid is None else _split(valid, "validity masks", problems, optional=True)
    if not problems:
        if len(pred_maps) != len(target_maps):
            problems.append(f"{len(pred_maps)} predictions but {len(target_maps)} targets")
        if len(pred_maps) != len(valid_maps):
            problems.append(f"{len(pred_maps)} predictions but {len(valid_maps)} validity masks")
        if images is not None and len(pred_maps) != len(images):
            problems.append(f"{len(pred_maps)} predictions but {len(images)} images")
    image_maps = [None] * len(pred_maps) if images is None else [_to_array(image) for image in images]
    checked = []
    for index, (pred, target, inside, image) in enumerate(
        zip(pred_maps, target_maps, valid_maps, image_maps, strict=False)
    ):
        faults = [*_pred_faults(pred), *_target_faults(target), *_valid_faults(inside)]
        if pred.shape != target.shape and pred.ndim and target.ndim:
            faults.append(
                f"prediction is {_size(pred)}, target is {_size(target)}; resize the prediction to the mask's size"
            )
        if inside is not None and inside.shape != target.shape:
            faults.append(f"validity mask is {_size(inside)}, target is {_size(target)}")
        if image is not None and (image.dtype != np.uint8 or image.shape != (*target.shape, 3)):
            faults.append(
                f"image is {_size(image)} {image.dtype}, target is {_size(target)}; "
                "expected (H, W, 3) uint8 of the same size"
            )
        problems.extend(f"map {index}: {fault}" for fault in faults)
        checked.append(Checked(pred, target, inside, image))
    problems.raise_all("These maps cannot be scored, and nothing of this call was counted:")
    return checked


def _split(maps: Maps | Sequence[Map | None], name: str, problems: list[str], optional: bool = False) -> list[Any]:
    if (_is_tensor(maps) or isinstance(maps, np.ndarray)) and maps.ndim not in (3, 4):
        problems.append(
            f"{name} have shape {tuple(maps.shape)}; expected a list of (H, W) maps, (N, H, W) or (N, 1, H, W)"
        )
        return []
    if _is_tensor(maps):
        maps = maps.detach().cpu()  # one transfer for all maps
    return [None if optional and single is None else _to_array(single) for single in maps]


def _to_array(single: Map | None) -> NDArray[Any]:
    if _is_tensor(single):
        import torch

        single = single.detach()
        # NumPy has no bfloat16.
        single = (single.float() if single.dtype == torch.bfloat16 else single).cpu().numpy()
    array = np.asarray(single)
    return array[0] if array.ndim == 3 and array.shape[0] == 1 else array


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


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


def _valid_faults(valid: NDArray[Any] | None) -> list[str]:
    if valid is None:
        return []
    if valid.ndim != 2:
        return [f"validity mask has shape {valid.shape}; expected (H, W)"]
    if valid.dtype != np.bool_:
        return [f"validity mask is {valid.dtype}; expected bool (`fov > 128` of an 8-bit mask)"]
    if not valid.any():
        return ["validity mask has no valid pixel: nothing would be judged"]
    return []


def _size(array: NDArray[Any]) -> str:
    return "×".join(map(str, array.shape))
