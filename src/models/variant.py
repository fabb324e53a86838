"""Evaluation variants: ways to evaluate a trained network other than as it was trained. Needs no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """How a trained network is evaluated; by default as it was trained.

    Args:
        closing_step: only for RUN. True: the final mask is M̂_{K+1}; False: M_K; None: as it was trained.
        rounds: 1: one pass; 2 or more: :class:`src.models.rounds.InRounds`.
        sharpness: factor of the final mask's logits (:class:`src.models.wrappers.Sharpened`).
        flip: True: every pass is the mean of two, of the image and of its mirror image
            (:class:`src.models.wrappers.Flipped`).
    """

    closing_step: bool | None = None
    rounds: int = 1
    sharpness: float = 1.0
    flip: bool = False

    def problems(self) -> list[str]:
        """Return what is wrong with the values, one line per mistake."""
        found = []
        if self.rounds < 1:
            found.append(f"rounds={self.rounds}: expected 1 (one look), 2 (a second one, magnified) or more")
        if not 0 < self.sharpness < math.inf:
            found.append(f"sharpness={self.sharpness}: expected a number above 0 (1: the logits as they are)")
        return found


AS_TRAINED = Variant()
