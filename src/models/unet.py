"""The U-Net baseline: its skip connections are concatenated, its decoder reaches the image's resolution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from src.models.encoder import STRIDES, PyramidEncoder
from src.models.layers import conv_bn_relu
from src.models.outputs import MaskOutput
from src.models.resample import pool, upsample
from src.utils.errors import UserError

BLOCK_STRIDES = (16, 8, 4, 2, 1)
IMAGE_SKIPS = {1: 16, 2: 32}
"""Stride → width of the skip connections that are computed from the image (our choice)."""


class UNet(nn.Module):
    """A U-Net decoder (Ronneberger et al., MICCAI 2015) on the pyramid of a pretrained encoder.

    Each block doubles the resolution bilinearly, concatenates the encoder's feature of that stride and applies two
    Conv-BN-ReLU. The pyramid ends at stride 4, so the last two blocks have no skip connection, unless it is computed
    from the image as in the original (``image_skips``). The widths are those of `segmentation_models_pytorch`.

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: width of each block, at strides 16, 8, 4, 2 and 1.
        image_skips: compute the skip connections of the blocks at strides 1 and 2 from the image, by two Conv-BN-ReLU
            with a 2×2 average between them.

    ``forward(image)``: (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`MaskOutput`.

    Raises:
        UserError: another number of widths.
    """

    def __init__(
        self, encoder: PyramidEncoder, channels: Sequence[int] = (256, 128, 64, 32, 16), image_skips: bool = False
    ) -> None:
        super().__init__()
        if len(channels) != len(BLOCK_STRIDES) or min(channels) < 1:
            raise UserError(
                f"model.net.channels: got {list(channels)}, expected {len(BLOCK_STRIDES)} widths, "
                f"at strides {BLOCK_STRIDES}"
            )
        self.encoder = encoder
        widths = [encoder.channels[max(STRIDES)], *channels]
        skips = encoder.channels | (IMAGE_SKIPS if image_skips else {})
        self.stem = nn.ModuleList(
            [conv_bn_relu(3, IMAGE_SKIPS[1]), conv_bn_relu(IMAGE_SKIPS[1], IMAGE_SKIPS[2])] if image_skips else []
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_bn_relu(before + skips.get(stride, 0), after), conv_bn_relu(after, after))
            for stride, before, after in zip(BLOCK_STRIDES, widths[:-1], widths[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, image: Tensor) -> MaskOutput:
        """Return the mask of an image (N,3,H,W) in [0,1]."""
        height, width = image.shape[-2:]
        pyramid = self.encoder(image)
        if self.stem:
            fine = self.stem[0](image)
            pyramid = pyramid | {1: fine, 2: self.stem[1](pool(fine, 2))}
        feature = pyramid[max(STRIDES)]
        for stride, block in zip(BLOCK_STRIDES, self.blocks, strict=True):
            feature = upsample(feature, 2, (-(-height // stride), -(-width // stride)))
            feature = block(torch.cat([feature, pyramid[stride]], 1) if stride in pyramid else feature)
        return MaskOutput(self.head(feature).float())
