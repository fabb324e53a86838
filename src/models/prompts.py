"""Prompts: what a person or another method says about a mask, as a term of RUN's objective (our addition).

    L(M, B) += ½ ν ‖√p ⊙ (M − P)‖²,     ν > 0

P is the mask that is described, p how certain it is; where p is 0, the objective is that of the image alone.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.checks import check
from src.models.layers import PositiveScalar, above_floor
from src.models.resample import pool

CLOSING_NU = 3.0
"""ν of a network that was trained without prompts, whose closing step alone has the term.

Our choice: of 1, 3 and 10 the best mean S_α over boxes, coarse maps and five clicks on 241 held-out images of CAMO.
"""

LATE_NU, LATE_CLICK_NU = 0.3, 3.0
"""ν of the closing step of a network that was trained with prompts, whose stages have used the prompt already.

`LATE_CLICK_NU` is that of clicks, `LATE_NU` that of all else. Our choice, on held-out images of CAMO: a large ν gains
much from clicks and nothing from boxes, and copies coarse and wrong maps into the mask.
"""


class Prompt(NamedTuple):
    """The prompts of N images.

    Attributes:
        target: P, (N,1,H,W) in [0,1], at the images' size.
        certainty: p, likewise; 0 where the prompt says nothing.
        clicked: p where it is that of a click, else 0, so never above p; only the closing step reads it.
    """

    target: Tensor
    certainty: Tensor
    clicked: Tensor

    @classmethod
    def without_clicks(cls, target: Tensor, certainty: Tensor) -> Prompt:
        """Return P and p of boxes or maps as a prompt."""
        return cls(target, certainty, torch.zeros_like(certainty))

    def pooled(self, factor: int) -> Prompt:
        """Average over factor×factor cells, P weighted by p: (N,1,⌈H/factor⌉,⌈W/factor⌉) each."""
        if factor == 1:
            return self
        return _divided(*(pool(map_, factor) for map_ in self._weighted()))

    def resized(self, height: int, width: int) -> Prompt:
        """Resize bilinearly, antialiased, P weighted by p; a prompt of that size already is returned unchanged."""
        if self.target.shape[-2:] == (height, width):
            return self
        maps = F.interpolate(torch.cat(self._weighted(), 1), (height, width), mode="bilinear", antialias=True)
        return _divided(*maps.split(1, dim=1))

    def part(self, index: int, rows: slice, columns: slice) -> Prompt:
        """Return the prompt of image ``index`` alone, cut to some of its rows and columns."""
        return Prompt(*(map_[index : index + 1, :, rows, columns] for map_ in self))

    def channels(self) -> Tensor:
        """Return the input of a branch: p(2P − 1), which is 0 for "unknown", and p, (N,2,H,W)."""
        return torch.cat([self.certainty * (2 * self.target - 1), self.certainty], 1)

    def late_trust(self) -> Tensor:
        """Return ν·p in the closing step of a network that was trained with prompts."""
        clicked = torch.minimum(self.clicked, self.certainty)
        return LATE_NU * (self.certainty - clicked) + LATE_CLICK_NU * clicked

    def _weighted(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.target * self.certainty, self.certainty, self.clicked


class PromptTerm(nn.Module):
    """The term's weight ν, learned; RUN adds the term to M_0 and to the mask step of every stage.

    In the closing step ν is a constant (:meth:`Prompt.late_trust`): no loss tells ν how literally a final mask should
    take a prompt.

    Args:
        nu: initial ν.

    Raises:
        UserError: ν is too small.
    """

    def __init__(self, nu: float = 1.0) -> None:
        super().__init__()
        check("PromptTerm", *above_floor(nu=nu))
        self.nu = PositiveScalar(nu)


class PromptConvolution(nn.Module):
    """A 3×3 convolution of :meth:`Prompt.channels`, without bias and zero at the start: (N,2,h,w) → (N,channels,h,w).

    No random number is drawn, so that all other parts start as they do without prompts.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, 2, 3, 3))

    def forward(self, prompt: Tensor) -> Tensor:
        """Return what the prompt adds to φ's convolution."""
        return F.conv2d(prompt, self.weight, padding=1)


def prompted(mask: Tensor, target: Tensor, trust: Tensor) -> Tensor:
    """Return (M + νpP) / (1 + νp), the minimiser of ½‖M' − M‖² + ½ν‖√p ⊙ (M' − P)‖² over M'.

    Args:
        mask: M, (N,1,h,w) in [0,1].
        target: P, likewise.
        trust: ν·p ≥ 0, likewise.
    """
    return (mask + trust * target) / (1 + trust)


def _divided(weighted: Tensor, certainty: Tensor, clicked: Tensor) -> Prompt:
    """Return P = pP / p, 0 where p is 0, p and its clicks."""
    return Prompt((weighted / certainty.clamp_min(torch.finfo(certainty.dtype).tiny)).clamp(0, 1), certainty, clicked)
