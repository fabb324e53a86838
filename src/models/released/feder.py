"""FEDER, RUN's predecessor, as in its released checkpoint: the coarsest and finest level also use wavelet branches."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.encoder import PyramidEncoder
from src.models.released.blocks import ConvBNReLU, conv
from src.models.released.network import ReleasedNetwork
from src.models.released.wavelet import BandBranch
from src.models.resample import pad_to_multiple
from src.utils.errors import UserError

SMALLEST, MULTIPLE = 384, 64
SHUFFLE = 2


class FEDER(ReleasedNetwork):
    """The deterministic mask path of FEDER (He et al., CVPR 2023).

    Args:
        encoder: a :class:`PyramidEncoder`; the authors' is ResNet50.
        channels: C, the decoder's width, a multiple of 4 (96 in the released file).
        one_by_one: compute each image of a batch by itself. The released code normalises filter weights over the whole
            batch, so that an image's mask depends on the other images; False does the same.

    Inputs and outputs are those of :class:`src.models.released.network.ReleasedRUN`. Images are padded to sides that
    are multiples of 64 and at least 384 pixels, which the wavelet branches need. In training a batch is always computed
    as a whole, because of BatchNorm.

    Raises:
        UserError: a width that is not a multiple of 4.
    """

    def __init__(self, encoder: PyramidEncoder, channels: int = 96, one_by_one: bool = True) -> None:
        if channels < 4 or channels % SHUFFLE**2:
            raise UserError(f"model.net.channels: got {channels}, expected a multiple of {SHUFFLE**2}")
        super().__init__(encoder, channels)
        self.one_by_one = one_by_one
        self.low, self.high = BandBranch(channels, "LL"), BandBranch(channels, "HH")
        self.low_down = nn.Sequential(*(ConvBNReLU(channels, channels, 3, stride=2) for _ in range(2)))
        self.low_merge = conv(2 * channels, channels)
        self.high_merge = conv(channels + channels // SHUFFLE**2, channels)

    def stage_logits(self, normalised: Tensor) -> dict[str, Tensor]:
        """Return the logits of all masks, (N,1,H,W) each: ``m0``, ``f4``, ``f3``, ``f2`` and ``f1``, coarse to fine."""
        if self.training or not self.one_by_one or len(normalised) == 1:
            return super().stage_logits(normalised)
        single = [super(FEDER, self).stage_logits(image) for image in normalised.split(1)]
        return {name: torch.cat([masks[name] for masks in single]) for name in single[0]}

    def padded(self, normalised: Tensor) -> Tensor:
        """Return the image with its last row and column repeated, up to a size that the wavelet branches accept."""
        bottom, right = (max(0, SMALLEST - side) for side in normalised.shape[-2:])
        return pad_to_multiple(F.pad(normalised, (0, right, 0, bottom), mode="replicate"), MULTIPLE)

    def decoded(self, levels: list[Tensor]) -> list[Tensor]:
        """Return d1 … d4: d1 is e1 merged with the high band, d4 is e4 merged with the low band, d2 = e2, d3 = e3."""
        e1, e2, e3, e4 = levels
        d1 = self.high_merge(torch.cat([F.pixel_shuffle(self.high(levels), SHUFFLE), e1], 1))
        d4 = self.low_merge(torch.cat([self.low_down(self.low(levels)), e4], 1))
        return [d1, e2, e3, d4]
