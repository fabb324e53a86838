"""The plain baselines: the same encoder and top-down context, one head on the finest level."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from src.models.encoder import STRIDES, PyramidEncoder, TopDownContext
from src.models.layers import conv_bn_relu
from src.models.outputs import MaskOutput
from src.models.resample import upsample
from src.utils.errors import UserError

FINEST = 4


class FPN(nn.Module):
    """A feature pyramid with a mask head at stride 4: no stages, no state space, no unfolding.

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: width of the pyramid.
        levels: strides whose outputs are upsampled to stride 4 and summed, as the input of the head. ``[4]``: only the
            finest level; all four: the semantic branch of a panoptic feature pyramid (Kirillov et al., CVPR 2019),
            which `model=fpn_wide` is.

    ``forward(image)``: (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`MaskOutput`.

    Raises:
        UserError: levels without the finest, or strides that the encoder does not have.
    """

    def __init__(self, encoder: PyramidEncoder, channels: int = 64, levels: Sequence[int] = (FINEST,)) -> None:
        super().__init__()
        if FINEST not in levels or not set(levels) <= set(STRIDES):
            raise UserError(f"model.net.levels: got {list(levels)}, expected {FINEST} and any other of {list(STRIDES)}")
        self.encoder = encoder
        self.context = TopDownContext(encoder.channels, channels, levels)
        self.head = nn.Sequential(conv_bn_relu(channels, channels), nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, image: Tensor) -> MaskOutput:
        """Return the mask of an image (N,3,H,W) in [0,1]."""
        levels = self.context(self.encoder(image))
        size = (levels[FINEST].shape[-2], levels[FINEST].shape[-1])
        feature = levels.pop(FINEST)
        for stride, level in levels.items():
            feature = feature + upsample(level, stride // FINEST, size)
        logits = self.head(feature).float()
        return MaskOutput(upsample(logits, FINEST, (image.shape[-2], image.shape[-1])))
