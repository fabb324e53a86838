"""SOFS, segmentation-oriented foreground separation: the closed-form mask step and the reversible state space."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from src.models.checks import Expectation, at_least_one, check, one_of
from src.models.gradient_checkpointing import Caller, call_plain
from src.models.layers import TOKEN, FromTokens, PositiveScalar, Resolution, above_floor, conv_bn_relu, to_tokens
from src.models.prompts import PromptConvolution
from src.models.resample import pad_to_multiple
from src.models.vss import Field, VSSBlock

UncertainBand = Literal["zero", "one"]
Branches = Literal["both", "small", "large"]
Residual = Literal["stages"] | bool
REVERSED_PRIOR = 1e-3


def residual_filter(
    mask: Tensor, uncertain_band: UncertainBand = "zero", softness: float = 0.0
) -> tuple[Tensor, Tensor]:
    """The filter F: mask p → (w, M̃), so that w·(p − M̃) is only non-zero for half-decided pixels.

    Args:
        mask: probabilities in [0,1], any shape.
        uncertain_band: ``zero``: w = 0 where 0.4 < p < 0.6 (released code); ``one``: w = 1 everywhere (our switch).
        softness: 0: hard thresholds (released code); else the width of the sigmoids that replace them, so that
            gradients flow (our switch).

    Returns:
        w (0 or 1, with soft thresholds also between) and M̃ (0.1 where 0.1 < p < 0.4, 0.9 where 0.6 < p < 0.9, else p),
        both in ``mask``'s shape.
    """
    if not softness:
        weight, tilde = _HardFilter.apply(mask) if mask.requires_grad else _hard_filter(mask)[:2]
        return torch.ones_like(mask) if uncertain_band == "one" else weight, tilde
    low, high = _between(mask, 0.1, 0.4, softness), _between(mask, 0.6, 0.9, softness)
    undecided = _between(mask, 0.4, 0.6, softness) if uncertain_band == "zero" else torch.zeros_like(mask)
    return 1 - undecided, mask + low * (0.1 - mask) + high * (0.9 - mask)


def _hard_filter(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return w, M̃, and where M̃ is not p (a bool)."""
    low, high = (mask > 0.1) & (mask < 0.4), (mask > 0.6) & (mask < 0.9)
    decided = ((mask > 0.4) & (mask < 0.6)).logical_not()
    return decided.to(mask.dtype), torch.where(low, 0.1, torch.where(high, 0.9, mask)), low | high


class _HardFilter(torch.autograd.Function):
    """F with hard thresholds; only M̃ has a gradient, where it is p. This takes a third of autograd's passes."""

    @staticmethod
    def forward(ctx: Any, mask: Tensor) -> tuple[Tensor, Tensor]:
        weight, tilde, moved = _hard_filter(mask)
        ctx.mark_non_differentiable(weight)
        ctx.save_for_backward(moved)
        return weight, tilde

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (moved,) = ctx.saved_tensors
        return gradients[1].masked_fill(moved, 0)


def _between(x: Tensor, low: float, high: float, softness: float) -> Tensor:
    """Return a soft 1 where low < x < high, else 0: two sigmoids of width ``softness``."""
    return torch.sigmoid((x - low) / softness) * torch.sigmoid((high - x) / softness)


def filtered_residual(
    mask: Tensor, mask_prev: Tensor, uncertain_band: UncertainBand = "zero", softness: float = 0.0
) -> Tensor:
    """r_{k−1} = w_{k−1}·(M_{k−1} − M̃_{k−1}) with (w_{k−1}, M̃_{k−1}) = F(M_{k−2}), in ``mask``'s (M_{k−1}) shape."""
    weight, tilde = residual_filter(mask_prev, uncertain_band, softness)
    return weight * (mask - tilde)


def mask_step(
    image: Tensor,
    background: Tensor,
    mask: Tensor,
    mask_prev: Tensor,
    grad_s: Tensor | float,
    mu: Tensor | float,
    alpha: Tensor | float,
    lipschitz: float = 1.0,
    uncertain_band: UncertainBand = "zero",
    softness: float = 0.0,
    *,
    prompt: Tensor | None = None,
    trust: Tensor | None = None,
) -> Tensor:
    """M̂_k, the exact minimiser over M ∈ [0,1] of the linearised objective (paper's form, derived terms; method.md 3.1).

    Args:
        image: C, (N,3,H,W) RGB in [0,1], not normalised.
        background: B_{k−1}, (N,3,H,W) in [0,1].
        mask: M_{k−1}, (N,1,H,W) in [0,1].
        mask_prev: M_{k−2}, likewise.
        grad_s: the map s·∇S(r_{k−1}), (N,1,H,W), or 0 if the residual is off.
        mu: μ > 0, weight of the proximal term.
        alpha: α ≥ 0, weight of the residual sparsity; 0 (with grad_s = 0) switches it off.
        lipschitz: L_S of ∇S.
        uncertain_band: see :func:`residual_filter`.
        softness: likewise.
        prompt: P, (N,1,H,W) in [0,1], the mask of a prompt (:mod:`src.models.prompts`); None: no prompt.
        trust: ν·p ≥ 0, likewise; given if ``prompt`` is.

    Returns:
        (N,1,H,W) in [0,1]: clamp((Q_b·M_{k−1} + Σ_c(C_c² − C_c·B_{k−1,c}) + Q_c + ν·p·P) / (Q_a + ν·p)).
    """
    if (prompt is None) != (trust is None):
        raise ValueError("prompt and trust belong together; got only one of them")
    filtered = residual_filter(mask, uncertain_band, softness)
    residual = filtered_residual(mask, mask_prev, uncertain_band, softness)
    return _minimiser(image, background, mask, filtered, residual, grad_s, mu, alpha * lipschitz, prompt, trust)


def _minimiser(
    image: Tensor,
    background: Tensor,
    mask: Tensor,
    filtered: tuple[Tensor, Tensor],
    residual: Tensor,
    grad_s: Tensor | float,
    mu: Tensor | float,
    strength: Tensor | float,
    prompt: Tensor | None,
    trust: Tensor | None,
) -> Tensor:
    """:func:`mask_step` from F(M_{k−1}) and r_{k−1}, with α·L_S as ``strength``.

    Q_b·M + Q_c is μ·M + w·(α·L_S·(r + w·M̃) − s·∇S), with w, M̃ of F(M_{k−1}) and r = r_{k−1}.
    """
    weight, tilde = filtered
    energy = image.square().sum(1, keepdim=True)
    evidence = energy - (image * background).sum(1, keepdim=True)
    sparse = weight * (strength * (residual + weight * tilde) - grad_s)
    wanted, q_a = mu * mask + evidence + sparse, energy + strength * weight.square() + mu
    if prompt is not None and trust is not None:
        wanted, q_a = wanted + trust * prompt, q_a + trust
    return (wanted / q_a).clamp(0, 1)


def reversed_mask(image: Tensor, background: Tensor, mask: Tensor) -> Tensor:
    """R_{k−1} = B_{k−1}/C by least squares with the old mask as prior (our choice; method.md 3.2).

    It is exactly 1 − M if B = (1 − M)·C, even for black pixels. Shapes as in :func:`mask_step`; returns (N,1,H,W) in
    [0,1].
    """
    energy = image.square().sum(1, keepdim=True)
    explained = (image * background).sum(1, keepdim=True)
    return ((explained + REVERSED_PRIOR * (1 - mask)) / (energy + REVERSED_PRIOR)).clamp(0, 1)


class MaskStep(nn.Module):
    """The mask step with its learned parts: μ, and with ``residual`` also α, s and the small network ∇S.

    Args:
        mu: initial μ.
        residual: False: no ∇S, s and α (grad_s = 0, α = 0). ``stages``: not in the closing step, as no loss tells ∇S
            what a final mask should be; at full resolution it would draw texture into it (our choice;
            docs/results/ablations.md).
        alpha: initial α.
        residual_scale: initial s.
        lipschitz: the constant L_S.
        gradient: where ∇S convolves, ``pixel`` or ``space_to_depth`` (our choice).
        residual_depth: number of convolutions of ∇S (3 here, 8 in the released code).
        residual_width: their channels (16 here, 32 in the released code).
        uncertain_band: see :func:`residual_filter`.
        softness: likewise; 0 (hard thresholds) to 0.1.

    Raises:
        UserError: all invalid settings at once.
    """

    def __init__(
        self,
        mu: float = 0.01,
        residual: Residual = "stages",
        alpha: float = 0.01,
        residual_scale: float = 0.1,
        lipschitz: float = 1.0,
        gradient: Resolution = "space_to_depth",
        residual_depth: int = 3,
        residual_width: int = 16,
        uncertain_band: UncertainBand = "zero",
        softness: float = 0.0,
    ) -> None:
        super().__init__()
        check(
            "MaskStep",
            *above_floor(mu=mu, alpha=alpha),
            *at_least_one(residual_depth=residual_depth, residual_width=residual_width),
            Expectation("lipschitz", lipschitz, lipschitz >= 0, "0 or more"),
            Expectation("softness", softness, 0 <= softness <= 0.1, "0 (hard thresholds) to 0.1"),
            *one_of(get_args(UncertainBand), uncertain_band=uncertain_band),
            *one_of((True, False, "stages"), residual=residual),
            *one_of(get_args(Resolution), gradient=gradient),
            Expectation(
                "residual_depth",
                residual_depth,
                gradient == "pixel" or residual_depth != 1,
                "2 or more with gradient=space_to_depth",
            ),
        )
        self.lipschitz = lipschitz
        self.uncertain_band: UncertainBand = uncertain_band
        self.softness = softness
        self.mu = PositiveScalar(mu)
        self.residual = residual
        if residual:
            self.alpha = PositiveScalar(alpha)
            self.scale = nn.Parameter(torch.tensor(float(residual_scale)))
            self.gradient = ResidualGradient(residual_depth, residual_width, gradient)

    def forward(
        self,
        image: Tensor,
        background: Tensor,
        mask: Tensor,
        mask_prev: Tensor,
        prompt: Tensor | None = None,
        trust: Tensor | None = None,
        is_closing: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return (M̂_k, r_{k−1}), with r = 0 if the residual is off; shapes as in :func:`mask_step`."""
        if not self.has_residual(is_closing):
            state = (image, background, mask, mask_prev)
            return mask_step(*state, 0.0, self.mu(), 0.0, prompt=prompt, trust=trust), torch.zeros_like(mask)
        filtering = (self.uncertain_band, self.softness)
        residual = filtered_residual(mask, mask_prev, *filtering)
        grad_s = self.scale * self.gradient(residual).float()
        filtered, strength = residual_filter(mask, *filtering), self.alpha() * self.lipschitz
        mask_hat = _minimiser(image, background, mask, filtered, residual, grad_s, self.mu(), strength, prompt, trust)
        return mask_hat, residual

    def has_residual(self, is_closing: bool) -> bool:
        """Return whether the residual sparsity is part of a stage's step, or of the closing step."""
        return bool(self.residual) and not (is_closing and self.residual == "stages")


class ReversibleStateSpace(nn.Module):
    """RSS: foreground and background evidence through a small- and a large-field state-space branch (method.md 3.2).

    T = VSS_s(φ_s(E·M̂ + E)) + VSS_l(φ_l(E·R + E)); mask logits = conv3×3(T); edge logits = conv3×3'(T).
    φ (3×3 convolution, BatchNorm, ReLU) is essential: a VSS block starts with a LayerNorm, which would cancel the
    factor (1 + M̂) exactly.

    Args:
        channels: width of E(C).
        scan: False replaces the four-way scan by a depthwise 3×3 and a 1×1 convolution of the same width.
        edge_head: False: there is no edge head, and edge logits are None.
        branches: ``small``: only VSS_s, so R is not used; ``large``: only VSS_l, so M̂ is
            not used here (but in the term with γ).
        phi: False omits φ in both branches: LayerNorm then cancels most of the mask's influence.
        gamma: initial γ of the mask's residual, M_k = σ(up(conv(T)) + γ·logit(clip(M̂_k, .01, .99))) (our switch);
            None: no residual, as in the paper. RUN holds γ and adds the term, with one γ per stage, at the unfolding
            resolution.
        coupling: False: both branches only use E (the no-unfolding control ``fpn_ds``).
        call: the function that calls a branch (:mod:`src.models.gradient_checkpointing`).
        prompts: True: φ of each branch also reads prompts (:class:`src.models.prompts.PromptConvolution`).

    Raises:
        UserError: an unknown choice of branches.
    """

    def __init__(
        self,
        channels: int,
        scan: bool = True,
        edge_head: bool = True,
        branches: Branches = "both",
        phi: bool = True,
        gamma: float | None = 0.0,
        coupling: bool = True,
        call: Caller = call_plain,
        prompts: bool = False,
    ) -> None:
        super().__init__()
        check("ReversibleStateSpace", *one_of(get_args(Branches), branches=branches))
        self.gamma, self.coupling, self.call = gamma, coupling, call
        self.small = Branch(channels, "small", scan, phi, prompts) if branches != "large" else None
        self.large = Branch(channels, "large", scan, phi, prompts) if branches != "small" else None
        self.mask_head = nn.Conv2d(channels, 1, 3, padding=1)
        self.edge_head = nn.Conv2d(channels, 1, 3, padding=1) if edge_head else None

    def forward(
        self, feature: Tensor, mask_hat: Tensor, reverse: Tensor, prompt: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the logits of M_k and of E_k (None without an edge head), (N,1,h,w) each.

        Args:
            feature: E(C), (N,C,h,w).
            mask_hat: M̂_k, (N,1,h,w) at the same level.
            reverse: R_{k−1}, likewise.
            prompt: (N,2,h,w), see :meth:`src.models.prompts.Prompt.channels`; None: without one.
        """
        parts = [
            self.call(branch, feature * evidence + feature if self.coupling else feature, prompt)
            for branch, evidence in ((self.small, mask_hat), (self.large, reverse))
            if branch is not None
        ]
        total = parts[0] + parts[1] if len(parts) == 2 else parts[0]
        return self.mask_head(total), self.edge_head(total) if self.edge_head is not None else None

    @property
    def reads_mask_hat(self) -> bool:
        """Return whether anything uses M̂: VSS_s, or the mask's residual."""
        return self.coupling and (self.small is not None or self.gamma is not None)

    @property
    def reads_reverse(self) -> bool:
        """Return whether anything uses R: VSS_l."""
        return self.coupling and self.large is not None


class Branch(nn.Module):
    """φ, then the VSS block: (N,C,h,w) → the same shape.

    Args:
        channels: C.
        field: of the VSS block.
        scan: likewise.
        phi: False omits φ, and then prompts too.
        prompts: φ also reads prompts, through a convolution of their own.
    """

    def __init__(self, channels: int, field: Field, scan: bool, phi: bool, prompts: bool) -> None:
        super().__init__()
        self.phi = conv_bn_relu(channels, channels) if phi else nn.Identity()
        self.vss = VSSBlock(channels, field=field, scan=scan)
        self.prompt = PromptConvolution(channels) if phi and prompts else None

    def forward(self, x: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Return the branch's part of T for the feature that its evidence has weighted."""
        if self.prompt is None or prompt is None or not isinstance(self.phi, nn.Sequential):
            return self.vss(self.phi(x))
        convolution, norm, activation = self.phi
        return self.vss(activation(norm(convolution(x) + self.prompt(prompt))))


class ResidualGradient(nn.Sequential):
    """∇S: ``depth`` convolutions with ReLU between them, (N,1,H,W) → (N,1,H,W) (released code, smaller).

    With ``pixel`` all are 3×3 convolutions of pixels. With ``space_to_depth`` the first one reads tokens of 4 × 4
    pixels, the last one writes one value for each, which is enlarged bilinearly, and those between are 3×3.
    """

    def __init__(self, depth: int, width: int, resolution: Resolution) -> None:
        widths = [1, *[width] * (depth - 1), 1]
        layers: list[nn.Module] = [nn.Conv2d(narrow, wide, 3, padding=1) for narrow, wide in pairwise(widths)]
        if resolution == "space_to_depth":
            layers[0], layers[-1] = to_tokens(1, width), FromTokens(width, 1)
        activated = (module for layer in layers for module in (layer, nn.ReLU(inplace=True)))
        super().__init__(*list(activated)[:-1])
        self.multiple = 1 if resolution == "pixel" else TOKEN

    def forward(self, x: Tensor) -> Tensor:
        """Return ∇S of a residual (N,1,H,W), in its shape."""
        return super().forward(pad_to_multiple(x, self.multiple))[..., : x.shape[-2], : x.shape[-1]]
