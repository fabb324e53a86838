"""A map under the `field` protocol: it has 256 grey values, so every sum over pixels is a sum over a histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from src.metrics.functional import structure
from src.metrics.functional.arrays import BoolMap, FloatMap
from src.metrics.functional.counts import Counts
from src.metrics.functional.protocol import level_values, to_8bit
from src.metrics.functional.ranking import auc_from_counts
from src.metrics.functional.weighted import Box, f_weighted_in_box, object_box

NEAR_TIE = 1e-12
"""If the adaptive threshold is this close to a grey value of the map, the last bit of the map's mean decides."""


@dataclass(frozen=True)
class LevelMap:
    """An 8-bit map, its mask and its histograms; the measures equal those of `PixelMap` on `pixels()`.

    >>> import numpy as np
    >>> whole = LevelMap.of(np.array([[0.8, 0.2], [0.4, 0.0]]), np.array([[True, False], [False, False]]))
    >>> whole.mae(), round(structure.combined(whole.s_object(), whole.s_region()), 4), round(whole.f_weighted(), 4)
    (0.1875, 0.9353, 0.7025)
    """

    levels: NDArray[np.uint8]
    """(H, W); 0 where invalid."""
    target: BoolMap
    """(H, W); False where invalid."""
    valid: BoolMap | None
    values: FloatMap
    """(256,): each grey value after min–max, in [0, 1]."""
    floor: int
    """The largest grey value whose value is 0."""
    quadrants: NDArray[np.int64]
    """(4, 2, 256): pixels of the whole map, counted by region of S_region, mask and grey value."""
    judged: NDArray[np.int64]
    """(2, 256): valid pixels, counted by mask and grey value."""
    cut: tuple[int, int]
    """First row of the lower regions, and first column of the right ones."""
    box: Box | None
    """The object's bounding box; None without an object."""

    @classmethod
    def of(cls, pred: NDArray[np.floating], target: BoolMap, valid: BoolMap | None = None) -> LevelMap:
        """Make it from a prediction in [0, 1]: 8-bit rounding, min–max (over the valid pixels), histograms."""
        from src.metrics.functional.kernels import count_levels, profile

        levels = to_8bit(pred)
        if valid is not None:
            levels, target = np.where(valid, levels, np.uint8(0)), target & valid
        mask = np.require(target, np.bool_, ["C", "W"]).view(np.uint8)
        rows, columns = np.zeros(levels.shape[0], np.int32), np.zeros(levels.shape[1], np.int32)
        profile(mask, rows, columns)
        found = bool(rows.any())
        cut = (structure.split(rows), structure.split(columns)) if found else (0, 0)
        quadrants = np.zeros((4, 2, 256), np.int64)
        count_levels(levels, mask, *cut, quadrants)
        judged = quadrants.sum(axis=0)
        if valid is not None:
            judged[0, 0] -= np.count_nonzero(~valid)
        present = np.flatnonzero(judged.sum(axis=0))
        low, high = int(present[0]), int(present[-1])
        values = level_values(low, high)
        values[:low] = 0.0  # only invalid pixels can have these values
        floor = low if high > low else 0
        box = object_box(rows, columns) if found else None
        return cls(levels, target, valid, values, floor, quadrants, judged, cut, box)

    def counts_at_thresholds(self) -> Counts:
        """Counts at `THRESHOLDS`; a pixel belongs to bin ⌊255 p⌋."""
        bins = (self.values * 255).astype(np.uint8)
        inside, outside = (
            np.bincount(bins, weights=counts, minlength=256)[::-1].cumsum() for counts in self.judged[::-1]
        )
        return Counts(inside, outside, int(inside[-1]), int(self.judged.sum()))

    def counts_adaptive(self) -> Counts:
        """Counts at `adaptive_threshold`."""
        twice = 2 * float(self.judged.sum(axis=0) @ self.values) / int(self.judged.sum())
        present = self.values[self.judged.any(axis=0)]
        if twice > 0 and np.abs(present - twice).min() < NEAR_TIE:
            pixels = self.pixels()
            twice = 2 * float((pixels if self.valid is None else pixels[self.valid]).mean())
        return self._counts(self.values >= min(twice, 1.0))

    def counts_at_half(self) -> Counts:
        """Counts of what exceeds 0.5."""
        return self._counts(self.values > 0.5)

    def mae(self) -> float:
        """As `functional.mae`."""
        return float(self.judged[0] @ self.values + self.judged[1] @ (1 - self.values)) / int(self.judged.sum())

    def auc(self) -> float:
        """As `functional.auc`, from the 256 grey values."""
        return auc_from_counts(self.judged[1], self.judged[0])

    def s_object(self) -> float:
        """As `functional.s_object`."""
        outside, inside = self.quadrants.sum(axis=0)
        if not inside.any() or not outside.any():
            return self._one_class()
        return structure.object_part(*(structure.Spread(*self._moments(counts)) for counts in (inside, outside)))

    def s_region(self) -> float:
        """As `functional.s_region`."""
        positives = int(self.quadrants[:, 1].sum())
        if positives in (0, self.levels.size):
            return self._one_class()
        score = 0.0
        for index, counts in enumerate(self.quadrants):
            size = int(counts.sum())
            if size:
                score += size / self.levels.size * structure.similarity(self._region(index))
        return score

    def f_weighted(self) -> float:
        """As `functional.f_weighted`."""
        if self.box is None:
            return 0.0
        positives = int(self.quadrants[:, 1].sum())
        return f_weighted_in_box(self.levels, self.values, self.floor, self.target, self.box, positives)

    def foreground(self) -> BoolMap:
        """Where the map exceeds 0.5, (H, W)."""
        chosen: BoolMap = (self.values > 0.5)[self.levels]
        return chosen

    def pixels(self) -> FloatMap:
        """The map itself, (H, W) float64, as `functional.prepare` makes it."""
        chosen: FloatMap = self.values[self.levels]
        return chosen

    def _counts(self, chosen: BoolMap) -> Counts:
        fp, tp = (np.asarray(counts[chosen].sum(), dtype=np.float64) for counts in self.judged)
        return Counts(tp, fp, int(self.judged[1].sum()), int(self.judged.sum()))

    def _moments(self, counts: NDArray[np.int64]) -> tuple[int, float, float]:
        """Return number, mean and sum of squared deviations of the pixels with these counts."""
        size = int(counts.sum())
        mean = float(counts @ self.values) / size
        return size, mean, float(counts @ (self.values - mean) ** 2)

    def _one_class(self) -> float:
        _, mean, _ = self._moments(self.quadrants.sum(axis=(0, 1)))
        return structure.one_class(mean, full=self.box is not None)

    def _region(self, index: int) -> structure.Region:
        outside, inside = self.quadrants[index]
        size, mean, squares = self._moments(outside + inside)
        levels = np.flatnonzero(outside + inside)
        if levels.size == 1:
            squares = self._squares_of_constant(index, float(self.values[levels[0]]))
        return structure.Region(size, int(inside.sum()), mean, squares, float(inside @ (self.values - mean)))

    def _squares_of_constant(self, index: int, value: float) -> float:
        """Return Σ (x − mean)² of a constant region: 0 up to rounding, as NumPy computes it (see `similarity`)."""
        bottom, right = self.cut
        down = slice(bottom, None) if index >= 2 else slice(0, bottom)
        across = slice(right, None) if index % 2 else slice(0, right)
        region = np.empty(self.levels.shape)[down, across]
        region[...] = value
        deviation = region - region.mean()
        return float(np.vdot(deviation, deviation))
