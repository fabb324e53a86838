"""The scores of one image, and of one method on one data set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from src.metrics import MapScores

SPECK = 0.01
"""An 8-connected part of a mask counts as an object if it holds at least this share of the mask's object pixels."""

DESCRIPTION = ("image", "object_share", "objects")
"""The keys of a row that describe its image; all others are measures."""


@dataclass(frozen=True)
class ImageScores:
    """One image: share of object pixels in [0, 1], number of objects (see `SPECK`), and the scores of its map.

    `resized`: the map had another size than the mask. `in_view`: only a field of view was judged, and `object_share` is
    the share of its pixels.
    """

    image: str
    object_share: float
    objects: int
    scores: MapScores
    resized: bool = False
    in_view: bool = False


@dataclass
class SetScores:
    """One method on one data set: the scalars of every image in `rows`, and the sums of the curves.

    `map` names a stage (``M_0`` …) if a network's stages are scored separately; `resized` and `in_view` count images,
    see `ImageScores`.
    """

    dataset: str
    method: str
    map: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    resized: int = 0
    in_view: int = 0
    curve_sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, image: ImageScores) -> None:
        """Add one image; the order must be the same in every run, as floating-point sums depend on it."""
        described = dict(zip(DESCRIPTION, (image.image, image.object_share, image.objects), strict=True))
        self.rows.append(described | image.scores.scalars)
        for name, curve in image.scores.curves.items():
            self.curve_sums[name] = self.curve_sums.get(name, 0.0) + curve
        self.resized += image.resized
        self.in_view += image.in_view

    @property
    def label(self) -> str:
        """Return the stage if stages are scored separately, else the method."""
        return self.map or self.method

    @property
    def curves(self) -> dict[str, NDArray[np.float64]]:
        """Return the mean curves over the images, (256,) each."""
        return {name: total / len(self.rows) for name, total in self.curve_sums.items()}

    @property
    def scalars(self) -> dict[str, float]:
        """Return the means over images; `*_max` is the maximum of the mean curve, as in the field's toolbox."""
        curves, found = self.curves, {}
        for name in self.measures:
            curve = curves.get(f"{name.removesuffix('_max')}_curve") if name.endswith("_max") else None
            found[name] = float(self.values(name).mean() if curve is None else curve.max())
        return found

    @property
    def measures(self) -> list[str]:
        """Return the names of the scalars, in the order of `src.metrics.score`."""
        return [name for name in self.rows[0] if name not in DESCRIPTION]

    def values(self, name: str) -> NDArray[np.float64]:
        """Return one value per image."""
        return np.array([row[name] for row in self.rows])
