"""Which prompts the images of a training get: `data.prompts`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np
import torch
from torch import Tensor

from src.data.maps import check_map, read_map
from src.data.prompts import Mask, PromptMaps, from_map, nothing
from src.data.simulated_prompts import COARSE, JITTER, box, coarse_map, wrong
from src.utils.errors import Problems

KINDS = ("none", "box", "clicks", "coarse", "maps", "wrong")
"""Kinds of prompts, each with a share of the images."""
CORRECTED = 0.3
"""Share of boxes and maps that clicks correct."""


class PromptSample(TypedDict):
    """The prompt of a training sample.

    `prompt_target` and `prompt_certainty`: P and p, float32 (1, S, S). `clicks`: number of clicks to add where the
    network's mask is wrong; `click_seed` seeds their places.
    """

    prompt_target: Tensor
    prompt_certainty: Tensor
    clicks: int
    click_seed: int


@dataclass(frozen=True)
class PromptRecipe:
    """Draws a prompt for each image of each epoch; it depends on the seed, the epoch and the image alone.

    Args:
        none, box, clicks, coarse, maps, wrong: relative frequencies of no prompt, a box, corrective clicks, a coarse
            map, another network's map, and a prompt that is wrong.
        jitter: how far the sides of a box move, as a share of its width or height.
        max_clicks: the number of clicks is 1 to this; `CORRECTED` of the boxes and maps get some, too.
        folder: other networks' maps of the training images, `<name>.png`, needed for `maps`. They should be
            cross-fitted: made by networks that were not trained on the image.
    """

    none: float = 0.4
    box: float = 0.2
    clicks: float = 0.2
    coarse: float = 0.15
    maps: float = 0.0
    wrong: float = 0.05
    jitter: float = JITTER
    max_clicks: int = 5
    folder: str | Path | None = None

    def problems(self) -> list[str]:
        """Return one line per invalid setting."""
        shares = {kind: getattr(self, kind) for kind in KINDS}
        problems = [f"data.prompts.{kind}={share}: must be 0 or more" for kind, share in shares.items() if share < 0]
        if not sum(shares.values()) > 0:
            problems.append("data.prompts: all kinds have the share 0; data.prompts=null trains without prompts")
        if not 0 <= self.jitter < 0.5:
            problems.append(f"data.prompts.jitter={self.jitter}: must be 0 or more, and below 0.5")
        if self.max_clicks < 1:
            problems.append(f"data.prompts.max_clicks={self.max_clicks}: must be 1 or more")
        if self.maps > 0 and self.folder is None:
            problems.append(f"data.prompts.maps={self.maps}: needs data.prompts.folder, where these maps are")
        return problems

    def map_problems(self, names: Sequence[str]) -> list[str]:
        """Return what is wrong with the maps of the images to train on, one line per problem."""
        if not self.maps:
            return []
        missing = [name for name in names if not self._map_file(name).is_file()]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            return [f"data.prompts.folder={self.folder}: has no {self._map_file(missing[0]).name}{more}"]
        problems = Problems()
        for name in names:
            with problems.catch():
                check_map(self._map_file(name))
        return problems

    def drawn(self, seed: int) -> tuple[str, np.random.Generator]:
        """Return a sample's kind of prompt, and the generator for everything else about it."""
        rng = np.random.default_rng([seed, 1])  # the augmentation uses the plain seed
        shares = np.array([getattr(self, kind) for kind in KINDS], np.float64)
        return str(rng.choice(KINDS, p=shares / shares.sum())), rng

    def stored_map(self, name: str, size: tuple[int, int]) -> np.ndarray:
        """Return the map of an image, uint8 (H, W), at its (height, width) `size`."""
        map_ = cv2.resize(read_map(self._map_file(name)), size[::-1], interpolation=cv2.INTER_LINEAR)
        found: np.ndarray = np.rint(255 * map_.clip(0, 1)).astype(np.uint8)
        return found

    def sample(
        self, kind: str, rng: np.random.Generator, mask: Mask, other: Callable[[int], Mask], map_: np.ndarray | None
    ) -> PromptSample:
        """Return the prompt of a sample.

        Args:
            kind: as `drawn` returned it.
            rng: likewise.
            mask: the object as the network sees it, bool (S, S).
            other: takes a random number and returns another image's mask.
            map_: another network's map, augmented like the image, uint8 (S, S); None unless `kind` is `maps`.
        """
        maps, clicks = self._maps(kind, rng, mask, other, map_), 0
        if kind == "clicks" or (kind in ("box", "coarse", "maps") and rng.random() < CORRECTED):
            clicks = int(rng.integers(1, self.max_clicks + 1))
        return {
            "prompt_target": torch.from_numpy(maps.target[None]),
            "prompt_certainty": torch.from_numpy(maps.certainty[None]),
            "clicks": clicks,
            "click_seed": int(rng.integers(2**31)),
        }

    def _maps(
        self, kind: str, rng: np.random.Generator, mask: Mask, other: Callable[[int], Mask], map_: np.ndarray | None
    ) -> PromptMaps:
        size = (mask.shape[0], mask.shape[1])
        if kind == "box":
            return box(mask, size, self.jitter, rng)
        if kind == "coarse":
            return from_map(coarse_map(mask, size, int(rng.choice(list(COARSE))), rng))
        if kind == "maps" and map_ is not None:
            return from_map(map_.astype(np.float32) / 255)
        if kind == "wrong":
            return wrong(mask, other(int(rng.integers(2**31))), size, rng)
        return nothing(size)

    def _map_file(self, name: str) -> Path:
        return Path(self.folder or "") / f"{name}.png"
