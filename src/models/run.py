"""RUN, the Reversible Unfolding Network: start, then K stages of SOFS (mask) and ROBE (background)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from src.models.encoder import STRIDES, PyramidEncoder, TopDownContext
from src.models.gradient_checkpointing import Runner, run, run_recomputed
from src.models.layers import POSITIVE_FLOOR, PositiveScalar, conv_bn_relu
from src.models.outputs import RUNOutput, StageOutput
from src.models.resample import pool, upsample
from src.models.robe import ROBE
from src.models.sofs import Branches, MaskStep, ReversibleStateSpace, UncertainBand, reversed_mask
from src.utils.errors import UserError

COARSEST = max(STRIDES)
LevelOrder = Literal["coarse_to_fine", "stride_8"]
ShareStages = Literal["unfolding", "all", "none"]


class RUN(nn.Module):
    """The unfolded network (method.md 3).

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: width of E(C) at every level.
        num_stages: K ≥ 1.
        levels: feature stride of each stage, or an order: see :func:`stage_levels`.
        unfold_stride: C, M and B live at 1/1 (the paper) or 1/4 of the image's resolution.
        share_stages: ``unfolding``: ∇S, s, μ, λ, α and U are shared over stages, RSS is not (released code);
            ``all``: RSS too; ``none``: nothing. γ never is.
        residual, mask_step, background_evidence, robe, state_space, edge_head: the parts of the unfolding; what is
            off creates no parameters. Off means, in turn: g = 0 and w = 0; M̂_k := M_{k−1}; R := 1 − M_{k−1} in RSS;
            B_k := (1 − M_k)·C; SS2D → convolutions; no edge output.
        coupling: False is the twin ``fpn_ds``: both branches read E alone and every part of the unfolding is off.
        branches: of the state space: ``both``, or VSS_s (``small``) or VSS_l (``large``) alone; what only the
            other one would read is then off too: R without VSS_l; without VSS_s the mask step (unless ``mask_residual`` reads M̂).
        phi: False leaves φ out of RSS: LayerNorm then cancels most of what the mask says.
        context: False leaves the top-down merging out of E(C): each level is reduced to ``channels`` by itself.
        robe_image: False: U(M_k, B̂_k) as in the paper's figure; True: U reads C too (released code).
        mask_residual: M_k = σ(up(conv(T)) + γ·logit(clip(M̂_k, .01, .99))), γ learnable (our switch; the paper: False).
        closing_step: the final mask is M̂_{K+1}, one more mask step (that of stage K) after the last stage, which reads B_K (our switch;
            the paper: False, M_K). No loss asks for it, so a network in training mode ends at M_K. False too where the mask step is off.
        mu, lam, alpha, gamma, residual_scale, lipschitz: initial μ, λ, α, γ, s, and the constant L_S.
        residual_depth, residual_width: convolutions of ∇S and their channels (released code: 8, 32).
        uncertain_band, softness: see :func:`src.models.sofs.residual_filter`.
        gradient_checkpointing: recompute the parts of each stage (mask step, either branch, ROBE) in the backward instead of keeping them.

    ``forward(image, start=None)``: image (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`RUNOutput`. ``start``: a mask (N,1,H,W) in
    [0,1] that takes M_0's place, averaged down to the unfolding resolution and kept within 0.01 … 0.99, to ask what the stages make of
    it (:mod:`scripts.results.other_starts`).

    Raises:
        UserError: all impossible settings at once.
    """

    def __init__(
        self,
        encoder: PyramidEncoder,
        channels: int = 64,
        num_stages: int = 4,
        levels: Sequence[int] | LevelOrder = "coarse_to_fine",
        unfold_stride: int = 1,
        share_stages: ShareStages = "unfolding",
        residual: bool = True,
        mask_step: bool = True,
        background_evidence: bool = True,
        robe: bool = True,
        state_space: bool = True,
        edge_head: bool = True,
        coupling: bool = True,
        branches: Branches = "both",
        phi: bool = True,
        context: bool = True,
        robe_image: bool = True,
        mask_residual: bool = False,
        closing_step: bool = False,
        mu: float = 0.01,
        lam: float = 0.01,
        alpha: float = 0.01,
        gamma: float = 0.0,
        residual_scale: float = 0.1,
        lipschitz: float = 1.0,
        residual_depth: int = 3,
        residual_width: int = 16,
        uncertain_band: UncertainBand = "zero",
        softness: float = 0.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(levels, str) and levels in get_args(LevelOrder):
            levels = stage_levels(levels, num_stages)
        _check_settings(locals())
        levels = tuple(levels)  # type: ignore[arg-type]
        robe, mask_residual = robe and coupling, mask_residual and coupling
        mask_step = mask_step and coupling and (branches != "large" or mask_residual)
        self.closing_step = closing_step and mask_step
        self.levels, self.unfold_stride, self.coupling = levels, unfold_stride, coupling
        self.run_part: Runner = run_recomputed if gradient_checkpointing else run
        self.background_evidence = background_evidence and robe and branches != "small"
        self.encoder = encoder
        self.context = TopDownContext(encoder.channels, channels, [*levels, COARSEST], merge=context)
        self.start = CoarseHead(channels)
        shared_unfolding, shared_all = share_stages in ("unfolding", "all"), share_stages == "all"
        unfolding_copies = 1 if shared_unfolding else num_stages
        self.mask_steps = nn.ModuleList(
            MaskStep(residual, mu, alpha, residual_scale, lipschitz, residual_depth, residual_width, uncertain_band, softness)
            for _ in range(unfolding_copies if mask_step else 0)
        )
        self.state_spaces = nn.ModuleList(
            ReversibleStateSpace(channels, state_space, edge_head, coupling, branches, phi, self.run_part)
            for _ in range(1 if shared_all else num_stages)
        )
        self.robes = nn.ModuleList(ROBE(lam, reads_image=robe_image) for _ in range(unfolding_copies if robe else 0))
        self.gammas = nn.ParameterList(nn.Parameter(torch.tensor(gamma)) for _ in range(num_stages if mask_residual else 0))

    def forward(self, image: Tensor, start: Tensor | None = None) -> RUNOutput:
        size = (image.shape[-2], image.shape[-1])
        features = self.context(self.encoder(image))
        image = pool(image.float(), self.unfold_stride)
        if start is None:
            coarse_logits = self._to_unfolding(self.start(features[COARSEST]), COARSEST, image)
        else:
            coarse_logits = _clipped_logit(pool(start.float(), self.unfold_stride))
        mask = mask_prev = coarse_logits.sigmoid()
        background = (1 - mask) * image
        stages: list[StageOutput] = []
        for k, level in enumerate(self.levels):
            stage = self._stage(k, features[level], image, mask, mask_prev, background)
            assert stage.background is not None
            mask_prev, mask, background = mask, stage.mask, stage.background
            stages.append(stage)
        logits, closing = stages[-1].mask_logits, None
        if self.closing_step and not self.training:
            closing, _ = self.run_part(self.mask_steps[-1], image, background, mask, mask_prev)
            logits = _clipped_logit(closing, 0.001)  # 0 and 255 in 8 bits
        return RUNOutput(upsample(logits, self.unfold_stride, size), coarse_logits, tuple(stages), closing)

    def unfolding_parameters(self) -> Iterator[nn.Parameter]:
        """μ, λ, α, s and γ: the few numbers that learn at their own rate, without weight decay (method.md 3.6)."""
        for module in self.modules():
            if isinstance(module, PositiveScalar):
                yield module.theta
            elif isinstance(module, MaskStep) and module.residual:
                yield module.scale
        yield from self.gammas

    def _stage(self, k: int, feature: Tensor, image: Tensor, mask: Tensor, mask_prev: Tensor, background: Tensor) -> StageOutput:
        level = self.levels[k]
        mask_hat, residual = mask, torch.zeros_like(mask)
        if self.mask_steps:
            mask_hat, residual = self.run_part(of_stage(self.mask_steps, k), image, background, mask, mask_prev)
        reverse = reversed_mask(image, background, mask) if self.background_evidence else 1 - mask
        factor = level // self.unfold_stride
        logits, edge_logits = of_stage(self.state_spaces, k)(feature, pool(mask_hat, factor), pool(reverse, factor))
        mask_logits = self._to_unfolding(logits, level, image)
        if self.gammas:
            mask_logits = mask_logits + self.gammas[k] * _clipped_logit(mask_hat)
        if edge_logits is not None:
            edge_logits = self._to_unfolding(edge_logits, level, image)
        new_mask = mask_logits.sigmoid()
        if self.robes:
            background, reconstruction = self.run_part(of_stage(self.robes, k), image, new_mask, background)
        else:
            background, reconstruction = (1 - new_mask) * image, None
        return StageOutput(mask_hat, mask_logits, new_mask, edge_logits, background, reconstruction, residual)

    def _to_unfolding(self, logits: Tensor, level: int, image: Tensor) -> Tensor:
        """Logits of a level, float32, at the unfolding resolution."""
        return upsample(logits.float(), level // self.unfold_stride, (image.shape[-2], image.shape[-1]))


class CoarseHead(nn.Module):
    """The start: logit of M_0 from the merged stride-32 feature, (N,C,h,w) → (N,1,h,w) (method.md 3.4).

    Two Conv-BN-ReLU plus a 1×1 convolution of the global mean; no BatchNorm on that 1×1 map, which a batch of one
    could not train. The bias of −1.5 starts every pixel as background, half-decided, where ∇S and α learn at once.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Sequential(conv_bn_relu(channels, channels), conv_bn_relu(channels, channels))
        self.overall = nn.Conv2d(channels, channels, 1)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.constant_(self.head.bias, -1.5)  # type: ignore[arg-type]

    def forward(self, feature: Tensor) -> Tensor:
        return self.head(self.local(feature) + self.overall(feature.mean((2, 3), keepdim=True)))


def stage_levels(order: LevelOrder, num_stages: int) -> tuple[int, ...]:
    """The feature strides of K stages (our choice; method.md 3.2 names the first order, docs/results.md measures both).

    >>> stage_levels("coarse_to_fine", 3), stage_levels("coarse_to_fine", 5), stage_levels("stride_8", 4)
    ((16, 8, 4), (32, 16, 8, 4, 4), (16, 8, 8, 8))
    """
    if order == "stride_8":
        return (16, *[8] * (num_stages - 1)) if num_stages > 1 else (8,)
    return {1: (4,), 2: (16, 4), 3: (16, 8, 4)}.get(num_stages, (32, 16, 8, *[4] * (num_stages - 3)))


def of_stage(modules: nn.ModuleList, k: int) -> Any:
    """The module of stage k, counted from 0, or the shared one."""
    return modules[k if len(modules) > 1 else 0]


def _clipped_logit(mask: Tensor, bound: float = 0.01) -> Tensor:
    """The logit of a mask in [0,1], between those of the bound and 1 − the bound."""
    return torch.logit(mask.clamp(bound, 1 - bound))


def _check_settings(given: Mapping[str, Any]) -> None:
    """Every impossible setting of RUN in one error."""
    problems = []

    def expect(name: str, fine: bool, expected: str) -> None:
        if not fine:
            problems.append(f"model.net.{name}: got {given[name]!r}, expected {expected}")

    for name in ("num_stages", "channels", "residual_depth", "residual_width"):
        expect(name, given[name] >= 1, "at least 1")
    for name in ("mu", "lam", "alpha"):
        expect(name, given[name] > POSITIVE_FLOOR, f"more than {POSITIVE_FLOOR}")
    expect("lipschitz", given["lipschitz"] >= 0, "0 or more")
    expect("softness", 0 <= given["softness"] <= 0.1, "0 (hard thresholds) to 0.1")
    expect("unfold_stride", given["unfold_stride"] in (1, 4), "1 or 4")
    expect("share_stages", given["share_stages"] in get_args(ShareStages), " or ".join(get_args(ShareStages)))
    expect("uncertain_band", given["uncertain_band"] in get_args(UncertainBand), " or ".join(get_args(UncertainBand)))
    expect("branches", given["branches"] in get_args(Branches), " or ".join(get_args(Branches)))
    levels, stages = given["levels"], given["num_stages"]
    is_list = isinstance(levels, Sequence) and len(levels) == stages and all(level in STRIDES for level in levels)
    orders = " or ".join(get_args(LevelOrder))
    expect("levels", is_list or stages < 1, f"{orders}, or a list of {stages} strides (one a stage) out of {list(STRIDES)}")
    if problems:
        raise UserError("RUN cannot be built:", problems)
