"""REU, refinement: a finer mask from a level's feature and the mask of the coarser level."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.released.blocks import ConvBNReLU, conv, resized


class BlendWeight(nn.Module):
    """α ∈ (0,1), one number per image, from the mean and the maximum of [p, q]; two maps (N,C,H,W) → (N,1,1,1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = conv(2 * channels, channels, bias=False)
        self.fc2 = conv(channels, 1, bias=False)

    def forward(self, p: Tensor, q: Tensor) -> Tensor:
        """Return α of two maps."""
        both = torch.cat([p, q], 1)
        mean, largest = both.mean((2, 3), keepdim=True), both.amax((2, 3), keepdim=True)
        return (self.fc2(self.fc1(mean).relu()) + self.fc2(self.fc1(largest).relu())).sigmoid()


class TwoStepBlock(nn.Module):
    """A residual block like a two-step solver: u + α p + (1 − α) q with p = F1(u), q = F2(p + u).

    ``forward``: u (N,C,H,W) → the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.F1 = _two_convolutions(channels)
        self.F2 = _two_convolutions(channels)
        self.getalpha = BlendWeight(channels)

    def forward(self, u: Tensor) -> Tensor:
        """Return ``u`` after the two steps."""
        p = self.F1(u)
        q = self.F2(p + u)
        alpha = self.getalpha(p, q)
        return u + alpha * p + (1 - alpha) * q


class Refinement(nn.Module):
    """REU (released code): y = out_y[(1 − σ(r)) d, o] + r; r is the prior at d's size, o a two-step block of [d, r].

    Args:
        channels: C.

    ``forward``: d (N,C,H,W) and prior logits (N,1,h,w) of any size → logits (N,1,H,W).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv(2 * channels, channels)
        self.ode = TwoStepBlock(channels)
        self.out_y = nn.Sequential(
            ConvBNReLU(2 * channels, channels, 3), ConvBNReLU(channels, channels // 2, 3), conv(channels // 2, 1, 3)
        )

    def forward(self, d: Tensor, prior: Tensor) -> Tensor:
        """Return the refined logit, (N,1,h,w) at the size of ``d``."""
        prior = resized(prior, d)
        o = self.ode(self.conv(torch.cat([d, prior.expand_as(d)], 1)))
        return self.out_y(torch.cat([(1 - prior.sigmoid()) * d, o], 1)) + prior


def _two_convolutions(channels: int) -> nn.Sequential:
    return nn.Sequential(conv(channels, channels, 3), nn.ReLU(inplace=True), conv(channels, channels, 3))
