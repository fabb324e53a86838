"""The plain baseline: the same encoder and top-down context, one head on the finest level."""

from __future__ import annotations

from torch import Tensor, nn

from src.models.encoder import PyramidEncoder, TopDownContext
from src.models.layers import conv_bn_relu
from src.models.outputs import MaskOutput
from src.models.resample import upsample

FINEST = 4


class FPN(nn.Module):
    """A feature pyramid with a mask head at stride 4: no stages, no state space, no unfolding.

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: width of the pyramid.

    ``forward(image)``: (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`MaskOutput`.
    """

    def __init__(self, encoder: PyramidEncoder, channels: int = 64) -> None:
        super().__init__()
        self.encoder = encoder
        self.context = TopDownContext(encoder.channels, channels, [FINEST])
        self.head = nn.Sequential(conv_bn_relu(channels, channels), nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, image: Tensor) -> MaskOutput:
        logits = self.head(self.context(self.encoder(image))[FINEST]).float()
        return MaskOutput(upsample(logits, FINEST, (image.shape[-2], image.shape[-1])))
