"""Old names of choices, accepted for one release."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from src.utils.launch import global_rank

RENAMED = {
    "experiment": {"camo_core": "camo_lite0"},
    "loss": {"stagewise": "measured", "paper": "published"},
    "data": {"own": "folder"},
    "ablation": {"finest_twice": "levels_stride4_twice"},
}
"""Group of `conf/` → old name → new name."""


def with_new_names(words: Sequence[str]) -> list[str]:
    """Return the overrides with new names in place of old ones, and print one line per name that was replaced.

    This comes before composition, so that stored configurations have the new names only and `ablation=glob(*)` finds
    every choice once.

    >>> with_new_names(["seed=0,1", "ablation=[no_phi,finest_twice]"])
    ['seed=0,1', 'ablation=[no_phi,levels_stride4_twice]']
    """
    told: dict[str, None] = {}
    renamed = [_renamed(word, told) for word in words]
    if global_rank() == 0:
        for line in told:
            print(line, file=sys.stderr)
    return renamed


def _renamed(word: str, told: dict[str, None]) -> str:
    """Return one override with new names, and add a line for each to `told`."""
    group, _, choices = word.partition("=")
    plain = group.lstrip("+")
    for old, new in RENAMED.get(plain, {}).items():
        choices, count = re.subn(rf"(?<![\w*]){old}(?![\w*])", new, choices)
        if count:
            told[f"{plain}={old} is now called {plain}={new}; the next release drops the old name"] = None
    return f"{group}={choices}" if plain in RENAMED and choices else word
