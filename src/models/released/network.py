"""The released RUN as in its checkpoints: encoder, four reduced levels, a top-down pass and four refinements."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.encoder import STRIDES, PyramidEncoder
from src.models.outputs import RUNOutput, StageOutput
from src.models.precision import full_precision
from src.models.released.blocks import conv
from src.models.released.cross_level import REDUCTION, CrossLevelFusion
from src.models.released.global_perception import GlobalPerception
from src.models.released.intra_level import IntraLevelFusion
from src.models.released.refinement import Refinement
from src.models.released.texture_enhance import TextureEnhance
from src.models.resample import pad_to_multiple
from src.utils.errors import UserError

COARSEST = max(STRIDES)


class ReleasedNetwork(nn.Module):
    """The common part of RUN and FEDER: reduced levels, a coarse mask, and four refinements of it, one after another.

    Lists of modules and features are ordered from the finest level to the coarsest. Subclasses compute the features of
    the refinements (:meth:`decoded`).

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: C, the decoder's width.

    Attributes:
        memory_format: the fastest one on a CPU: contiguous channels, as the Fourier transforms need them.
    """

    memory_format = torch.contiguous_format

    def __init__(self, encoder: PyramidEncoder, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = channels
        self.texture = nn.ModuleList(TextureEnhance(encoder.channels[stride], channels) for stride in STRIDES)
        self.coarse = GlobalPerception(encoder.channels[COARSEST])
        self.refine = nn.ModuleList(Refinement(channels) for _ in STRIDES)

    def forward(self, image: Tensor) -> RUNOutput:
        """Return the masks of an image (N,3,H,W) in [0,1]; the output's stages only have masks."""
        m0, *masks = self.stage_logits(self.encoder.normalise(image)).values()
        return RUNOutput(masks[-1], m0, tuple(StageOutput(None, logits, logits.sigmoid()) for logits in masks))

    def stage_logits(self, normalised: Tensor) -> dict[str, Tensor]:
        """Return the logits of all masks, (N,1,H,W) each: ``m0``, ``f4``, ``f3``, ``f2`` and ``f1``, coarse to fine.

        Args:
            normalised: (N,3,H,W), (image − mean) / std with the encoder's statistics.
        """
        height, width = normalised.shape[-2:]
        padded = self.padded(normalised)
        if padded.device.type == "cpu" and not torch.is_grad_enabled():
            padded = padded.contiguous(memory_format=self.memory_format)
        levels = list(self.encoder.features(padded).values())
        logits = full_precision(self.coarse(levels[-1]))
        masks = {"m0": _enlarged(logits, padded, align_corners=False)}
        levels = [enhance(level) for enhance, level in zip(self.texture, levels, strict=True)]
        features = self.decoded(levels)
        for number, feature, refine in zip((4, 3, 2, 1), reversed(features), reversed(self.refine), strict=True):
            logits = full_precision(refine(feature, logits.to(feature.dtype)))
            masks[f"f{number}"] = _enlarged(logits, padded, align_corners=True)
        return {name: mask[..., :height, :width] for name, mask in masks.items()}

    def padded(self, normalised: Tensor) -> Tensor:
        """Return the image with its last row and column repeated, up to a size that all strides divide."""
        return pad_to_multiple(normalised, COARSEST)

    def decoded(self, levels: list[Tensor]) -> list[Tensor]:
        """Return d1 … d4, the features of the refinements, from the reduced levels e1 … e4.

        Both go from (N,C,H/4,W/4) to (N,C,H/32,W/32).
        """
        raise NotImplementedError


class ReleasedRUN(ReleasedNetwork):
    """The deterministic mask path of the released RUN.

    Args:
        encoder: a :class:`PyramidEncoder`; the authors' are ResNet50, Res2Net50 (timm's ``res2net50d``) and PVTv2-b4.
        channels: C, the decoder's width, at least 16 (192 in the released files).

    ``forward(image)``: (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`RUNOutput` whose stages only have masks, f4 …
    f1, at the input's size; the final mask is f1. Sides that are not multiples of 32 are padded at the bottom and the
    right (our choice: the authors resize to 384 × 384). In training a batch must have at least two images, because a
    BatchNorm is applied to a 1×1 map.

    Raises:
        UserError: a width below 16.

    Source: the released code; these are 861 of its 1636 tensors.
    """

    def __init__(self, encoder: PyramidEncoder, channels: int = 192) -> None:
        if channels < REDUCTION:
            raise UserError(
                f"model.net.channels: got {channels}, expected {REDUCTION} or more "
                f"(channel attention keeps 1 of {REDUCTION})"
            )
        super().__init__(encoder, channels)
        self.intra = IntraLevelFusion(channels)
        self.cross = CrossLevelFusion(channels)
        self.merge = conv(2 * channels, channels)

    def decoded(self, levels: list[Tensor]) -> list[Tensor]:
        """Return d1 … d4: d4 is e4 itself; the others are merged from coarse to fine, starting at IAF(e4)."""
        *finer, merged = [self.intra(level) for level in levels]
        decoded = [levels[-1]]
        for level in reversed(finer):
            merged = self.merge(torch.cat([self.cross(merged, level), level], 1))
            decoded.insert(0, merged)
        return decoded


def _enlarged(logits: Tensor, like: Tensor, align_corners: bool) -> Tensor:
    return F.interpolate(logits, like.shape[-2:], mode="bilinear", align_corners=align_corners)
