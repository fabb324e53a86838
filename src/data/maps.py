"""Read prediction files as float maps."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from src.data.readers import read_whole_header
from src.utils.errors import UserError

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, TypeError)
"""What Pillow and NumPy raise for bytes that are not a picture or array."""


class StoredMap(NamedTuple):
    """`values` float64 (H, W) in [0, 1]; `full`: what 1 is stored as, 255 in 8-bit files, 1 in those of floats."""

    values: np.ndarray
    full: float


def read_map(path: Path) -> np.ndarray:
    """Return a prediction as float64 (H, W) in [0, 1].

    8-bit grey is divided by 255, 16-bit by 65535; float `.tif` and `.npy` values are taken as they are; bilevel is 0 or
    1. Colour files are read if all their pixels are grey.

    Raises:
        UserError: not readable, coloured or transparent, not one channel, NaN, values outside [0, 1].
    """
    return read_stored_map(path).values


def read_stored_map(path: Path) -> StoredMap:
    """Return what `read_map` does, with the scale of the file."""
    values = _array_file(path) if path.suffix.lower() == ".npy" else _grey_values(path)
    if values.dtype == np.bool_:
        return StoredMap(values.astype(np.float64), 1.0)
    if np.issubdtype(values.dtype, np.integer):
        full = float(np.iinfo(values.dtype).max)
        return StoredMap(values / full, full)
    if np.isnan(values).any():
        raise UserError(f"{path}: {np.count_nonzero(np.isnan(values))} NaN of {values.size} values")
    if values.min() < 0 or values.max() > 1:
        raise UserError(
            f"{path}: values from {values.min():.6g} to {values.max():.6g}, outside [0, 1]; "
            "save probabilities, not logits"
        )
    return StoredMap(values.astype(np.float64), 1.0)


def check_map(path: Path) -> None:
    """Raise a UserError for what `read_map` will refuse.

    Grey pictures are not decoded, as nothing in their pixels can be wrong.
    """
    if path.suffix.lower() != ".npy":
        read_whole_header(path)
        with Image.open(path) as file:
            if file.mode in ("1", "L"):
                return
    read_map(path)


def _array_file(path: Path) -> np.ndarray:
    try:
        values = np.squeeze(np.load(path, allow_pickle=False))
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({error}); replace or remove it") from error
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "buf":
        raise UserError(
            f"{path}: {values.dtype} array of shape {values.shape}; expected one (H, W) map, bool, unsigned or float"
        )
    return values


def _grey_values(path: Path) -> np.ndarray:
    try:
        with Image.open(path) as file:
            if file.mode in ("1", "L", "F"):
                return np.array(file)
            if file.mode.startswith("I"):
                values = np.array(file)
                if values.min() < 0 or values.max() > 65535:
                    raise ValueError(f"values from {values.min()} to {values.max()}, beyond 16 bits")
                return values.astype(np.uint16)
            rgba = np.array(file.convert("RGBA"))
    except UNREADABLE as error:
        raise UserError(f"{path}: cannot be read ({error}); replace or remove it") from error
    if (rgba[..., 3] < 255).any():
        raise UserError(f"{path}: has transparent pixels; save the map as 8-bit grey")
    if (rgba[..., :3] != rgba[..., :1]).any():
        raise UserError(f"{path}: a colour image, not a map; save the map as 8-bit grey")
    return rgba[..., 0]
