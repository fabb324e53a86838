"""Random natural-looking textures: one process per kind, with a palette, an orientation and a scale."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.random import Generator

Field = np.ndarray
"""float32 (H, W), zero mean, unit variance unless said otherwise."""


@dataclass(frozen=True)
class Palette:
    """A ramp of natural colours from dark to light.

    `hue` and its `drift` are in turns, saturation and lightness in [0, 1].
    """

    hue: float
    drift: float
    saturation: float
    dark: float
    light: float

    def ramp(self) -> np.ndarray:
        """Return the colours of the ramp, float32 (256, 3) RGB in [0, 1]."""
        stops = np.linspace(0, 1, 6)
        colours = [
            colorsys.hls_to_rgb(
                (self.hue + self.drift * (t - 0.5)) % 1,
                self.dark + (self.light - self.dark) * t,
                self.saturation * (1 - 0.4 * t),
            )
            for t in stops
        ]
        levels = np.linspace(0, 1, 256)
        return np.stack([np.interp(levels, stops, channel) for channel in zip(*colours, strict=True)], axis=-1).astype(
            np.float32
        )

    def shifted(self, hue: float, lightness: float) -> Palette:
        """Return the same ramp at another hue (in turns) and lightness."""
        return replace(
            self, hue=self.hue + hue, dark=max(self.dark + lightness, 0.02), light=min(self.light + lightness, 0.95)
        )


@dataclass(frozen=True)
class Texture:
    """A texture process.

    Attributes:
        kind: a key of `KINDS`.
        palette: its colours.
        angle: orientation in radians.
        scale: size of its features as a fraction of the image's shorter side.
        stretch: factor of elongation along the angle.
    """

    kind: str
    palette: Palette
    angle: float
    scale: float
    stretch: float

    def field(self, rng: Generator, height: int, width: int) -> Field:
        """Return a new sample of the process, as brightness before colours are applied."""
        cell = max(self.scale * min(height, width), 2.0)
        # The canvas is drawn upright and unstretched, and covers the image however it is turned.
        reach = int(np.ceil(np.hypot(height, width))) + 2
        canvas = KINDS[self.kind](rng, reach, int(np.ceil(reach / self.stretch)) + 2, cell / np.sqrt(self.stretch))
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[cos / self.stretch, sin / self.stretch], [-sin, cos]])
        centre = np.array([canvas.shape[1] / 2, canvas.shape[0] / 2]) - turn @ np.array([width / 2, height / 2])
        matrix = np.concatenate([turn, centre[:, None]], axis=1)
        turned = cv2.warpAffine(
            canvas,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        return standardised(turned + 0.15 * rng.standard_normal((height, width), dtype=np.float32))


def colourise(field: Field, palette: Palette) -> np.ndarray:
    """Return the field in the colours of the palette's ramp, float32 (H, W, 3) RGB in [0, 1]."""
    levels = (127.5 * (1 + np.tanh(0.8 * field))).astype(np.uint8)
    return palette.ramp()[levels]


def random_palette(rng: Generator) -> Palette:
    """Return a palette of leaves, grass, sand, litter, bark, stone, water or coral."""
    hue, saturation = PALETTES[rng.integers(len(PALETTES))]
    return Palette(
        hue=hue + rng.uniform(-0.03, 0.03),
        drift=rng.uniform(-0.12, 0.12),
        saturation=saturation * rng.uniform(0.7, 1.2),
        dark=rng.uniform(0.08, 0.22),
        light=rng.uniform(0.55, 0.8),
    )


def random_texture(rng: Generator) -> Texture:
    """Return a texture of any kind, colour, orientation and scale."""
    return Texture(
        kind=str(rng.choice(sorted(KINDS))),
        palette=random_palette(rng),
        angle=rng.uniform(0, np.pi),
        scale=rng.uniform(0.07, 0.14),
        stretch=rng.uniform(2.0, 3.5),
    )


def standardised(field: Field) -> Field:
    """Return the field with zero mean and unit variance."""
    centred = field - field.mean()
    return (centred / max(float(centred.std()), 1e-6)).astype(np.float32)


def smooth_noise(rng: Generator, height: int, width: int, cell: float, octaves: int = 1) -> Field:
    """Return value noise: random lattices of spacing `cell`, cell/2, … pixels, interpolated and added.

    Amplitudes fall by a factor of 0.6 per octave.
    """
    total = np.zeros((height, width), dtype=np.float32)
    for octave in range(octaves):
        spacing = cell / 2**octave
        if octave and spacing < 1.5:
            break
        lattice = rng.standard_normal((int(height / spacing) + 3, int(width / spacing) + 3), dtype=np.float32)
        fine = cv2.resize(lattice, None, fx=spacing, fy=spacing, interpolation=cv2.INTER_CUBIC)
        total += 0.6**octave * cv2.resize(fine[: height + int(spacing), : width + int(spacing)], (width, height))
    return total


def _noise(rng: Generator, height: int, width: int, cell: float) -> Field:
    return smooth_noise(rng, height, width, cell, octaves=4)


def _bark(rng: Generator, height: int, width: int, cell: float) -> Field:
    ridges = -np.abs(smooth_noise(rng, height, width, cell, octaves=2))
    return standardised(ridges) + 0.5 * smooth_noise(rng, height, width, cell / 3, octaves=2)


def _stripes(rng: Generator, height: int, width: int, cell: float) -> Field:
    rows = np.arange(height, dtype=np.float32)[:, None] * (2 * np.pi / (1.6 * cell))
    bent = rows + 2.0 * smooth_noise(rng, height, width, 3 * cell)
    return np.sin(bent) + 0.4 * smooth_noise(rng, height, width, cell / 2, octaves=2)


def _foliage(rng: Generator, height: int, width: int, cell: float) -> Field:
    distance, labels = _voronoi(rng, height, width, cell)
    tone = rng.standard_normal(int(labels.max()) + 1).astype(np.float32)[labels]
    return tone - 0.5 * standardised(distance) + 0.3 * smooth_noise(rng, height, width, cell / 3)


def _pebbles(rng: Generator, height: int, width: int, cell: float) -> Field:
    distance, labels = _voronoi(rng, height, width, cell)
    tone = rng.standard_normal(int(labels.max()) + 1).astype(np.float32)[labels]
    return 0.5 * tone - 1.2 * standardised(distance) + 0.2 * smooth_noise(rng, height, width, cell / 3)


def _voronoi(rng: Generator, height: int, width: int, cell: float) -> tuple[Field, np.ndarray]:
    """Return distance to, and label of, the nearest of random points about `cell` pixels apart."""
    free = np.ones((height, width), dtype=np.uint8)
    count = max(int(height * width / cell**2), 4)
    free[rng.integers(height, size=count), rng.integers(width, size=count)] = 0
    distance, labels = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return distance, labels


KINDS: dict[str, Callable[[Generator, int, int, float], Field]] = {
    "bark": _bark,
    "foliage": _foliage,
    "noise": _noise,
    "pebbles": _pebbles,
    "stripes": _stripes,
}

PALETTES = ((0.30, 0.45), (0.22, 0.5), (0.12, 0.4), (0.08, 0.45), (0.06, 0.3), (0.1, 0.1), (0.5, 0.35), (0.02, 0.45))
"""(hue in turns, saturation): leaves, grass, sand, litter, bark, stone, water, coral."""
