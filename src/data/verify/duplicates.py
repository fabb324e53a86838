"""Find the same photograph twice by its content.

Name, size, format and compression make no difference; mirrored copies are found, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

CORRELATION = 0.98
"""Correlation of two 16 × 16 grey pictures above which they are compared further."""
DIFFERENCE = 1.6
"""Mean difference of two 32 × 32 grey pictures (`inspection.signature`) up to which they count as the same.

JPEG at quality 30 to 95 and scales from 0.35 to 2 move real photographs by 1.26 at most; the nearest different ones
(consecutive frames of one scene in CAMO, different retinas in DRIVE) are 2.1 and 3.6 apart.
"""
BLOCK = 1024


class Copy(NamedTuple):
    """Indices of two pictures that are the same, `first` < `second`."""

    first: int
    second: int
    mirrored: bool


def find_copies(signatures: Sequence[np.ndarray]) -> list[Copy]:
    """Return all pairs of copies among float32 (32, 32) signatures.

    This takes n² comparisons of 256 numbers, a few seconds for ten thousand.
    """
    if not len(signatures):
        return []
    pictures = np.stack(list(signatures))
    mirrored = pictures[:, :, ::-1]
    vectors, mirrored_vectors = _unit_vectors(pictures), _unit_vectors(mirrored)
    copies = []
    for start in range(0, len(pictures), BLOCK):
        block = vectors[start : start + BLOCK]
        for others, shown, is_mirrored in ((vectors, pictures, False), (mirrored_vectors, mirrored, True)):
            first, second = np.nonzero(block @ others.T > CORRELATION)
            first += start
            later = first < second
            for i, j in _same(pictures, shown, first[later], second[later]):
                copies.append(Copy(int(i), int(j), is_mirrored))
    plain = {copy[:2] for copy in copies if not copy.mirrored}
    return sorted(copy for copy in copies if not (copy.mirrored and copy[:2] in plain))


def _same(pictures: np.ndarray, shown: np.ndarray, first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield those index pairs whose pictures are the same.

    They are compared in blocks: sets of one kind (retinas, video frames) have very many pairs to compare.
    """
    for start in range(0, len(first), BLOCK):
        i, j = first[start : start + BLOCK], second[start : start + BLOCK]
        same = np.abs(pictures[i] - shown[j]).mean((1, 2)) <= DIFFERENCE
        yield from zip(i[same], j[same], strict=True)


def _unit_vectors(pictures: np.ndarray) -> np.ndarray:
    """Return float32 (n, 256) of mean 0 and length 1; blank pictures stay 0 and resemble nothing."""
    small = np.stack(
        [
            cv2.resize(np.ascontiguousarray(picture), (16, 16), interpolation=cv2.INTER_AREA).ravel()
            for picture in pictures
        ]
    )
    small = small - small.mean(1, keepdims=True)
    lengths = np.linalg.norm(small, axis=1, keepdims=True)
    return np.where(lengths > 16, small / np.maximum(lengths, 1e-6), 0).astype(np.float32)
