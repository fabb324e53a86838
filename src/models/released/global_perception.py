"""GPM, global perception: the coarse mask from the deepest level, by atrous pyramid pooling and position attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from src.models.released.blocks import ConvBNReLU, conv
from src.utils.errors import UserError

BRANCH_WIDTH, HEAD_WIDTH, QUERY_WIDTH = 128, 256, 64
DROPOUT = 0.1
"""Only used in training; our choice, as the released files do not contain the rate."""


class PositionAttention(nn.Module):
    """Self-attention over positions: γ · softmax(qᵀk) v + x, without scaling by √d.

    γ starts at 0, so the block is the identity at first.

    Args:
        channels: number of channels of the input and the output.
        query_channels: d, number of channels of q and k.

    ``forward``: (N,channels,H,W) → the same shape; memory grows with (HW)².
    """

    def __init__(self, channels: int, query_channels: int) -> None:
        super().__init__()
        self.query_conv = conv(channels, query_channels)
        self.key_conv = conv(channels, query_channels)
        self.value_conv = conv(channels, channels)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus the attended values, in the same shape."""
        query, key, value = (layer(x).flatten(2) for layer in (self.query_conv, self.key_conv, self.value_conv))
        attention = (query.transpose(1, 2) @ key).softmax(-1)
        return self.gamma * (value @ attention.transpose(1, 2)).view_as(x) + x


class GlobalPerception(nn.Module):
    """GPM (released code): the logit of the coarse mask M_0.

    Args:
        in_channels: channels of the deepest encoder level.

    ``forward``: (N,in_channels,H,W) → (N,1,H,W) logits.

    Raises:
        UserError: training on a single image, whose global mean BatchNorm cannot normalise.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.branch_main = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBNReLU(in_channels, BRANCH_WIDTH))
        self.branch0 = ConvBNReLU(in_channels, BRANCH_WIDTH)
        self.branch1, self.branch2, self.branch3 = (
            ConvBNReLU(in_channels, BRANCH_WIDTH, 3, dilation) for dilation in (6, 12, 18)
        )
        self.head = nn.Sequential(
            ConvBNReLU(5 * BRANCH_WIDTH, HEAD_WIDTH, 3), PositionAttention(HEAD_WIDTH, QUERY_WIDTH)
        )
        self.out = nn.Sequential(
            conv(HEAD_WIDTH, QUERY_WIDTH, 3),
            nn.BatchNorm2d(QUERY_WIDTH),
            nn.PReLU(),
            nn.Dropout2d(DROPOUT),
            conv(QUERY_WIDTH, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the logit of M_0, (N,1,h,w) of a feature (N,C,h,w)."""
        try:
            main = self.branch_main(x).expand(-1, -1, *x.shape[-2:])
        except ValueError as error:  # from BatchNorm; SyncBatchNorm accepts one image per device
            raise UserError("this network learns from two images or more at a time: make the batches larger") from error
        return self.out(
            self.head(torch.cat([main, self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], 1))
        )
