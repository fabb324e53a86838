"""The interface of the two runtimes that make a picture's mask: torch and onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from src.data.prompts import PromptMaps
from src.models.variant import Variant
from src.utils.errors import UserError

SMALLEST_SIDE = 32
"""Pixels; the coarsest features of every encoder have a stride of 32."""


@dataclass(frozen=True)
class Options:
    """How a network is run; every default is what its training validated.

    Attributes:
        device: ``auto`` (a CUDA device if there is one), ``cpu``, ``cuda`` or ``cuda:N``.
        half: run convolutions and matrix products in half precision (float16 on CUDA, bfloat16 on a CPU).
        rounds: how often the network sees each picture; from the second time on, enlarged around what it has found.
        closing_step: False evaluates RUN at M_K instead of M̂_{K+1}; None is as trained.
        sharpness: what the final mask's logits are multiplied by.
        image_size: side of the network's square input in pixels; None is as trained.
        flip: average each pass with one of the mirror image, in twice the time.
    """

    device: str = "auto"
    half: bool = False
    rounds: int = 1
    closing_step: bool | None = None
    sharpness: float = 1.0
    image_size: int | None = None
    flip: bool = False

    @property
    def variant(self) -> Variant:
        """Return the evaluation variant that the options describe."""
        return Variant(self.closing_step, self.rounds, self.sharpness, self.flip)

    def problems(self) -> list[str]:
        """Return one line per invalid setting, whatever the network."""
        problems = self.variant.problems()
        if self.image_size is not None and self.image_size < SMALLEST_SIDE:
            problems.append(f"image_size={self.image_size}: expected at least {SMALLEST_SIDE} pixels")
        return problems

    def check(self) -> None:
        """Raise a UserError that lists all :meth:`problems`."""
        if problems := self.problems():
            raise UserError("the network cannot be run with these options:", problems)


class RawMask(Protocol):
    """One picture's mask as the network returned it; it is brought to the picture's size on request."""

    def levels(self, height: int, width: int) -> np.ndarray:
        """Return the mask as uint8 (height, width): round(255 · probability)."""
        ...

    def probabilities(self, height: int, width: int) -> np.ndarray:
        """Return the mask as float32 (height, width) in [0, 1]."""
        ...


class Network(Protocol):
    """A trained network that turns pictures into masks. All methods may be called by several threads at once.

    Attributes:
        config: the resolved configuration of the training, as the file stores it.
        note: the licence note of the file; empty where it has none.
        image_size: side of the network's square input in pixels.
        batched: whether several pictures in one call are faster than one after another (on a GPU).
        takes_prompts: whether :meth:`run` can be given prompts.
    """

    config: Mapping[str, Any]
    note: str
    image_size: int
    batched: bool
    takes_prompts: bool

    def shrink(self, picture: np.ndarray) -> np.ndarray:
        """Return the network's input for a picture, uint8 RGB (h, w, 3)."""
        ...

    def run(self, inputs: Sequence[np.ndarray], prompts: Sequence[PromptMaps | None] = ()) -> Sequence[RawMask]:
        """Segment what :meth:`shrink` returned for each picture; ``prompts`` holds one for each of them, or nothing."""
        ...

    def shared_by(self, workers: int) -> AbstractContextManager[None]:
        """Divide the cores among threads that all call :meth:`run`, for the time of the context."""
        ...
