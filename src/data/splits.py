"""The hold-out: which training images are kept for validation (and testing), decided by names alone.

SHA-256 of the stem gives the same answer on every machine, in every process and whatever other files are present;
Python's `hash` is salted per process, and a shuffled index changes with every file added.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple


class Holdout(NamedTuple):
    """Indices into the training names; disjoint, together all of them."""

    train: list[int]
    val: list[int]
    test: list[int]


def name_position(stem: str) -> float:
    """Return a stem's place in [0, 1): the first 32 bits of its SHA-256, over 2³².

    >>> round(name_position("camourflage_00001"), 6)
    0.61572
    """
    return int(hashlib.sha256(stem.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16) / 2**32


def split_names(names: Sequence[str], val_fraction: float, test_fraction: float = 0.0) -> Holdout:
    """Split by position: [0, val_fraction) validates, the next band, `test_fraction` wide, tests, the rest trains.

    Equal names stay on one side; so what belongs together (frames of one video) is given the name of its group
    (`published_sets.group_of`).
    """
    split = Holdout([], [], [])
    for index, name in enumerate(names):
        position = name_position(name)
        if position < val_fraction:
            split.val.append(index)
        elif position < val_fraction + test_fraction:
            split.test.append(index)
        else:
            split.train.append(index)
    return split


def fold_names(names: Sequence[str], fold: int, folds: int) -> Holdout:
    """Split for cross-validation: `fold` (0 … folds − 1) validates, the others train.

    Distinct names are dealt out in the order of their positions, so folds differ by one name at most; as many folds as
    names give leave-one-out. Unlike `split_names` this depends on which files exist.
    """
    order = sorted(set(names), key=lambda name: (name_position(name), name))
    held_out = set(order[fold::folds])
    split = Holdout([], [], [])
    for index, name in enumerate(names):
        (split.val if name in held_out else split.train).append(index)
    return split
