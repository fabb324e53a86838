"""Large convolutions on a CPU by Fourier transforms of tiles: a fourth of the arithmetic, with smaller rounding errors.

NNPACK, which comes with torch, computes them. It uses Fourier transforms for 5×5 kernels. For 3×3 kernels it would use
Winograd's method, which loses a digit, so these are padded with zeros to 5×5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.utils.private import can_transform, transformed_convolution

TRANSFORMED = 5
"""Side of the kernels that NNPACK transforms."""
SMALLEST_MAP, SMALLEST_WIDTH = 48, 64
"""Side in pixels and number of channels from which the transforms are faster."""


class FourierConv2d(nn.Conv2d):
    """A convolution of the same size with a 3×3 or 5×5 kernel, with parameters and result of :class:`torch.nn.Conv2d`.

    Only inference in float32 on a CPU uses the transforms; with gradients, in other precisions and in exports it is an
    ordinary convolution.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x``, (N,C,H,W), by a Fourier transform where that is faster."""
        return self._transformed(x) if self._pays(x) else super().forward(x)

    def _pays(self, x: Tensor) -> bool:
        plain = (
            x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and not torch.is_autocast_enabled("cpu")
        )
        large = min(x.shape[-2:]) >= SMALLEST_MAP and min(self.in_channels, self.out_channels) >= SMALLEST_WIDTH
        watched = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing()
        return plain and large and not watched and can_transform()

    def _transformed(self, x: Tensor) -> Tensor:
        margin = (TRANSFORMED - self.kernel_size[0]) // 2
        weight = (F.pad(self.weight, (margin,) * 4) if margin else self.weight).contiguous()
        each = [
            transformed_convolution(image.contiguous(), weight, self.bias, TRANSFORMED // 2) for image in x.split(1)
        ]
        return torch.cat(each) if len(each) > 1 else each[0]
