"""ROBE, reconstruction-oriented background extraction: the closed-form background step and its learned repair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.checks import Expectation, check, one_of
from src.models.layers import (
    TOKEN,
    FromTokens,
    PositiveScalar,
    Resolution,
    above_floor,
    conv_bn_relu,
    near_zero,
    to_tokens,
)
from src.models.resample import pad_to_multiple, upsample


def background_step(image: Tensor, mask: Tensor, background: Tensor, lam: Tensor | float) -> Tensor:
    """B̂_k = (λ·B_{k−1} + C − C·M_k) / (1 + λ), the minimiser of ½‖C − C·M_k − B‖² + ½λ‖B − B_{k−1}‖² (paper).

    Args:
        image: C, (N,3,H,W) in [0,1].
        mask: M_k, (N,1,H,W) in [0,1].
        background: B_{k−1}, (N,3,H,W) in [0,1].
        lam: λ > 0.

    Returns:
        (N,3,H,W) in [0,1].
    """
    return (lam * background + image - image * mask) / (1 + lam)


class BackgroundNetwork(nn.Module):
    """U: repairs the places where foreground and background contradict each other (method.md 3.3).

    It has three levels of ``widths`` channels. The last convolution starts near zero (std 10⁻³), so that an untrained U
    hardly changes B̂_k, but gradients flow from the first step. The sizes are our choice; the input C is that of the
    released code (``reads_image=False``: U(M, B̂), as in the paper's figure).

    Args:
        widths: channels of the three levels.
        reads_image: see above.
        resolution: ``pixel``: the finest level has one token a pixel. ``space_to_depth``: one for 4 × 4 pixels, whose
            values it reads; it writes a smooth map d, and U = d·C, or d·B̂ without C (our choice). So U has C's texture,
            which 4 × 4 pixels in ``widths[0]`` channels cannot carry.

    ``forward(mask, background, image)``: (N,1,H,W), (N,3,H,W), (N,3,H,W) of any H, W → correction (N,3,H,W).
    """

    def __init__(
        self, widths: Sequence[int] = (16, 32, 48), reads_image: bool = True, resolution: Resolution = "space_to_depth"
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.reads_image = reads_image
        channels = 7 if reads_image else 4
        self.by_pixel = by_pixel = resolution == "pixel"
        self.multiple = 4 if by_pixel else 4 * TOKEN
        self.encode_fine = conv_bn_relu(channels, fine) if by_pixel else _token_bn_relu(channels, fine)
        self.encode_middle = conv_bn_relu(fine, middle)
        self.encode_coarse = nn.Sequential(conv_bn_relu(middle, coarse), conv_bn_relu(coarse, coarse))
        self.decode_middle = conv_bn_relu(coarse + middle, middle)
        self.decode_fine = conv_bn_relu(middle + fine, fine)
        self.head = nn.Conv2d(fine, 3, 3, padding=1) if by_pixel else FromTokens(fine, 1)
        near_zero(self.head)

    def forward(self, mask: Tensor, background: Tensor, image: Tensor) -> Tensor:
        """Return the repair U of B̂_k, (N,3,h,w), from M_k (N,1,h,w), B̂_k and C (N,3,h,w) each."""
        height, width = mask.shape[-2:]
        read = [mask, background, image] if self.reads_image else [mask, background]
        fine = self.encode_fine(pad_to_multiple(torch.cat(read, 1), self.multiple))
        middle = self.encode_middle(F.avg_pool2d(fine, 2))
        coarse = self.encode_coarse(F.avg_pool2d(middle, 2))
        middle = self.decode_middle(torch.cat([_double(coarse), middle], 1))
        fine = self.decode_fine(torch.cat([_double(middle), fine], 1))
        repair = self.head(fine)[..., :height, :width]
        return repair if self.by_pixel else repair * read[-1]


class ROBE(nn.Module):
    """One background estimate: B_k = clamp(B̂_k + U(M_k, B̂_k, C), 0, 1) and Ĉ_k = C·M_k + B_k.

    Args:
        lam: initial λ.
        network: where U convolves, ``pixel`` or ``space_to_depth``, see :class:`BackgroundNetwork`.
        widths: channels of U's three levels.
        reads_image: True: U(M_k, B̂_k, C) (released code); False: U(M_k, B̂_k) as in the paper's figure.

    Raises:
        UserError: all invalid settings at once.
    """

    def __init__(
        self,
        lam: float = 0.01,
        network: Resolution = "space_to_depth",
        widths: Sequence[int] = (16, 32, 48),
        reads_image: bool = True,
    ) -> None:
        super().__init__()
        are_three = len(widths) == 3 and min(widths) >= 1
        check(
            "ROBE",
            *above_floor(lam=lam),
            *one_of(get_args(Resolution), network=network),
            Expectation("widths", list(widths), are_three, "three widths of at least 1"),
        )
        self.lam = PositiveScalar(lam)
        self.network = BackgroundNetwork(widths, reads_image, network)

    def forward(self, image: Tensor, mask: Tensor, background: Tensor) -> tuple[Tensor, Tensor]:
        """Return (B_k, Ĉ_k), both (N,3,H,W), B_k in [0,1], from C, M_k, B_{k−1} (as for :func:`background_step`)."""
        estimate = background_step(image, mask, background, self.lam())
        background = (estimate + self.network(mask, estimate, image).float()).clamp(0, 1)
        return background, image * mask + background


def _token_bn_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return tokens of 4 × 4 pixels → BatchNorm → ReLU."""
    return nn.Sequential(to_tokens(in_channels, out_channels), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def _double(x: Tensor) -> Tensor:
    return upsample(x, 2, (2 * x.shape[-2], 2 * x.shape[-1]))
