"""RUN, the Reversible Unfolding Network: start, then K stages of SOFS (mask) and ROBE (background)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from src.models.checks import Expectation, at_least_one, one_of, unmet
from src.models.encoder import STRIDES, PyramidEncoder, TopDownContext
from src.models.gradient_checkpointing import Caller, call_checkpointed, call_plain
from src.models.layers import PositiveScalar, conv_bn_relu
from src.models.outputs import RUNOutput, StageOutput
from src.models.prompts import CLOSING_NU, Prompt, PromptTerm, prompted
from src.models.resample import pool, upsample
from src.models.robe import ROBE
from src.models.sofs import MaskStep, ReversibleStateSpace, reversed_mask
from src.utils.errors import Problems, UserError

COARSEST = max(STRIDES)
LevelOrder = Literal["coarse_to_fine", "stride_8"]
ShareStages = Literal["unfolding", "all", "none"]


class RUN(nn.Module):
    """The unfolded network (method.md 3), composed of its parts; ``RUN(encoder)`` is `model=run`.

    A part is given as a factory: a class, or a `functools.partial` of it with settings. RUN calls it once if the stages
    share the part, else once per stage. A part that is off is None and creates no parameters.

    Args:
        encoder: a :class:`PyramidEncoder`.
        channels: width of E(C) at every level.
        num_stages: K ≥ 1.
        levels: feature stride of each stage, or the name of an order, see :func:`stage_levels`.
        unfold_stride: 1 or 4: C, M and B have the image's resolution (the paper) or a quarter of it.
        share_stages: ``unfolding``: all stages share the mask step and ROBE, but not the state space (released code);
            ``all``: the state space too; ``none``: nothing. γ is never shared.
        mask_step: makes a :class:`MaskStep`. None: M̂_k := M_{k−1}. Also off if the state space does not use M̂.
        state_space: makes a :class:`ReversibleStateSpace`, from ``channels``, ``coupling`` and ``call``.
        robe: makes a :class:`ROBE`. None: B_k := (1 − M_k)·C, and R := 1 − M_{k−1} in the state space.
        background_evidence: False: R := 1 − M_{k−1} in the state space.
        coupling: False is the no-unfolding control ``fpn_ds``: both branches only use E, and every part of the
            unfolding is off.
        context: False omits the top-down merging of E(C): each level is reduced to ``channels`` by itself.
        closing_step: the final mask is M̂_{K+1}, one more mask step (with stage K's weights) after the last stage, which
            uses B_K (our switch; the paper: False, M_K). It has no parameters and no loss of its own, so in training
            mode the output is M_K. Also off if the mask step is off.
        prompts: makes a :class:`PromptTerm`: prompts then enter M_0, the mask step of every stage and φ, and the
            closing step with the constants ν of :meth:`Prompt.late_trust`. None: they only enter the closing step,
            with the constant ν of `CLOSING_NU`; no parameters.
        gradient_checkpointing: recompute the parts of each stage (mask step, both branches, ROBE) in the backward pass
            instead of storing their results.

    ``forward(image, start=None, prompt=None)``: image (N,3,H,W) RGB in [0,1], any H, W ≥ 32 → :class:`RUNOutput`.
    ``start``: a mask (N,1,H,W) in [0,1] that replaces M_0, averaged down to the unfolding resolution and clipped to
    0.01 … 0.99; it shows what the stages make of another start (:mod:`scripts.results.other_starts`). ``prompt``: a
    :class:`Prompt` for the masks.

    Raises:
        UserError: all invalid settings at once, including those of the parts.
    """

    def __init__(
        self,
        encoder: PyramidEncoder,
        channels: int = 64,
        num_stages: int = 4,
        levels: Sequence[int] | LevelOrder = "stride_8",
        unfold_stride: int = 1,
        share_stages: ShareStages = "unfolding",
        mask_step: Callable[..., MaskStep] | None = MaskStep,
        state_space: Callable[..., ReversibleStateSpace] = ReversibleStateSpace,
        robe: Callable[..., ROBE] | None = ROBE,
        background_evidence: bool = True,
        coupling: bool = True,
        context: bool = True,
        closing_step: bool = True,
        prompts: Callable[..., PromptTerm] | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(levels, str) and levels in get_args(LevelOrder):
            levels = stage_levels(levels, num_stages)
        self.call: Caller = call_checkpointed if gradient_checkpointing else call_plain
        state_space = functools.partial(state_space, coupling=coupling, call=self.call, prompts=prompts is not None)
        problems = _own_problems(channels, num_stages, levels, unfold_stride, share_stages)
        parts = {"mask_step": mask_step, "state_space": functools.partial(state_space, max(1, channels)), "robe": robe}
        tried = _tried(parts | {"prompts": prompts}, problems)
        problems += _prompt_problems(prompts, mask_step, tried.get("state_space"))
        Problems(f"model.net.{problem}" for problem in problems).raise_all("RUN cannot be built:")
        space = tried["state_space"]
        self.levels, self.unfold_stride, self.coupling = tuple(map(int, levels)), unfold_stride, coupling
        self.encoder = encoder
        self.context = TopDownContext(encoder.channels, channels, [*self.levels, COARSEST], merge=context)
        encoder.read_only(self.context.strides)
        self.start = CoarseHead(channels)
        copies = num_stages if share_stages == "none" else 1
        self.mask_steps = _copies(mask_step if space.reads_mask_hat else None, copies)
        self.state_spaces = _copies(
            functools.partial(state_space, channels), 1 if share_stages == "all" else num_stages
        )
        self.robes = _copies(robe if coupling else None, copies)
        gammas = [] if space.gamma is None or not coupling else [float(space.gamma)] * num_stages
        self.gammas = nn.ParameterList(nn.Parameter(torch.tensor(gamma)) for gamma in gammas)
        self.background_evidence = background_evidence and bool(self.robes) and space.reads_reverse
        self.closing_step = closing_step and bool(self.mask_steps)
        self.prompt_term = prompts() if prompts is not None else None

    def forward(self, image: Tensor, start: Tensor | None = None, prompt: Prompt | None = None) -> RUNOutput:
        """Unfold an image; arguments as of :meth:`unfold`."""
        return self.unfold(self.encode(image), image, start, prompt)

    def encode(self, image: Tensor) -> dict[int, Tensor]:
        """Return E(C) by stride, (N,C,⌈H/stride⌉,⌈W/stride⌉) each, of an image (N,3,H,W)."""
        features: dict[int, Tensor] = self.context(self.encoder(image))
        return features

    def unfold(
        self, features: Mapping[int, Tensor], image: Tensor, start: Tensor | None = None, prompt: Prompt | None = None
    ) -> RUNOutput:
        """Unfold an image whose features are known; several calls may share them.

        Args:
            features: E(C), of :meth:`encode`.
            image: C, (N,3,H,W) in [0,1].
            start: M_0, (N,1,H,W) in [0,1]; None: the network's own.
            prompt: for the masks; one of another size is resized. A certainty of 0 everywhere gives the same bits as
                None.

        Raises:
            UserError: a prompt for a network that does not take any.
        """
        size = (image.shape[-2], image.shape[-1])
        image = pool(image.float(), self.unfold_stride).contiguous()  # sums over colours are fast plane by plane
        prompt = None if prompt is None else self._at_unfolding(prompt, size)
        in_stages = prompt if self.prompt_term is not None else None
        coarse_logits, mask = self._first_mask(features[COARSEST], image, start, in_stages)
        mask_prev, background = mask, (1 - mask) * image
        stages: list[StageOutput] = []
        for k, level in enumerate(self.levels):
            stage = self._stage(k, features[level], image, mask, mask_prev, background, in_stages)
            assert stage.background is not None
            mask_prev, mask, background = mask, stage.mask, stage.background
            stages.append(stage)
        logits, closing = stages[-1].mask_logits, None
        if self.closing_step and not self.training:
            said: tuple[Tensor, ...] = ()
            if prompt is not None:
                is_late = self.prompt_term is not None
                said = prompt.target, prompt.late_trust() if is_late else CLOSING_NU * prompt.certainty
            closing, _ = self.mask_steps[-1](image, background, mask, mask_prev, *said, is_closing=True)
            logits = _clipped_logit(closing, 0.001)  # the bounds round to 0 and 255 in 8 bits
        return RUNOutput(upsample(logits, self.unfold_stride, size), coarse_logits, tuple(stages), closing)

    @property
    def takes_prompts(self) -> bool:
        """Return whether ``prompt`` may be given: the stages have the term, or a closing step can hold it."""
        return self.prompt_term is not None or self.closing_step

    def unfolding_parameters(self) -> Iterator[nn.Parameter]:
        """Yield μ, λ, α, s, γ and ν, which have their own learning rate and no weight decay (method.md 3.6)."""
        for module in self.modules():
            if isinstance(module, PositiveScalar):
                yield module.theta
            elif isinstance(module, MaskStep) and module.residual:
                yield module.scale
        yield from self.gammas

    def _at_unfolding(self, prompt: Prompt, size: tuple[int, int]) -> Prompt:
        """Return a prompt at the unfolding resolution of an image of ``size``."""
        if self.prompt_term is None and (self.training or not self.closing_step):
            why = "is trained without them" if self.training else "was trained without them and has no closing step"
            raise UserError(f"prompt: this network {why}; model.net.prompts trains one that takes them")
        return Prompt(*(map_.float() for map_ in prompt)).resized(*size).pooled(self.unfold_stride)

    def _term(self, prompt: Prompt | None) -> tuple[Tensor, ...]:
        """Return what the mask step of a stage takes of a prompt, P and ν·p; nothing without one."""
        if prompt is None or self.prompt_term is None:
            return ()
        return prompt.target, self.prompt_term.nu() * prompt.certainty

    def _first_mask(
        self, feature: Tensor, image: Tensor, start: Tensor | None, prompt: Prompt | None
    ) -> tuple[Tensor, Tensor]:
        """Return the logits of M_0, and M_0."""
        if start is None:
            logits = self._to_unfolding(self.start(feature), COARSEST, image)
        else:
            logits = _clipped_logit(pool(start.float(), self.unfold_stride))
        mask = logits.sigmoid()
        if prompt is not None:
            target, trust = self._term(prompt)
            mask = prompted(mask, target, trust)
            logits = torch.where(trust > 0, _clipped_logit(mask, 0.001), logits)
        return logits, mask

    def _stage(
        self,
        k: int,
        feature: Tensor,
        image: Tensor,
        mask: Tensor,
        mask_prev: Tensor,
        background: Tensor,
        prompt: Prompt | None,
    ) -> StageOutput:
        level = self.levels[k]
        mask_hat, residual = mask, torch.zeros_like(mask)
        if self.mask_steps:
            step = module_of_stage(self.mask_steps, k)
            mask_hat, residual = self.call(step, image, background, mask, mask_prev, *self._term(prompt))
        reverse = reversed_mask(image, background, mask) if self.background_evidence else 1 - mask
        factor = level // self.unfold_stride
        shown = prompt.pooled(factor).channels() if prompt is not None else None
        logits, edge_logits = module_of_stage(self.state_spaces, k)(
            feature, pool(mask_hat, factor), pool(reverse, factor), shown
        )
        mask_logits = self._to_unfolding(logits, level, image)
        if self.gammas:
            mask_logits = mask_logits + self.gammas[k] * _clipped_logit(mask_hat)
        if edge_logits is not None:
            edge_logits = self._to_unfolding(edge_logits, level, image)
        new_mask = mask_logits.sigmoid()
        if self.robes:
            background, reconstruction = self.call(module_of_stage(self.robes, k), image, new_mask, background)
        else:
            background, reconstruction = (1 - new_mask) * image, None
        return StageOutput(mask_hat, mask_logits, new_mask, edge_logits, background, reconstruction, residual)

    def _to_unfolding(self, logits: Tensor, level: int, image: Tensor) -> Tensor:
        """Return a level's logits in float32 at the unfolding resolution."""
        return upsample(logits.float(), level // self.unfold_stride, (image.shape[-2], image.shape[-1]))


class CoarseHead(nn.Module):
    """The start: logit of M_0 from the merged stride-32 feature, (N,C,h,w) → (N,1,h,w) (method.md 3.4).

    Two Conv-BN-ReLU plus a 1×1 convolution of the global mean; that 1×1 map has no BatchNorm, which could not train on
    a batch of one image. With the bias of −1.5 every pixel starts as undecided background (0.18), where ∇S and α have
    gradients from the first step.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local = nn.Sequential(conv_bn_relu(channels, channels), conv_bn_relu(channels, channels))
        self.overall = nn.Conv2d(channels, channels, 1)
        self.head = nn.Conv2d(channels, 1, 3, padding=1)
        nn.init.constant_(self.head.bias, -1.5)  # type: ignore[arg-type]

    def forward(self, feature: Tensor) -> Tensor:
        """Return the logit of M_0."""
        return self.head(self.local(feature) + self.overall(feature.mean((2, 3), keepdim=True)))


def stage_levels(order: LevelOrder, num_stages: int) -> tuple[int, ...]:
    """Return the feature strides of K stages.

    Our choice: method.md 3.2 describes ``coarse_to_fine``; docs/results/ablations.md compares both orders.

    >>> stage_levels("coarse_to_fine", 3), stage_levels("coarse_to_fine", 5), stage_levels("stride_8", 4)
    ((16, 8, 4), (32, 16, 8, 4, 4), (16, 8, 8, 8))
    """
    if order == "stride_8":
        return (16, *[8] * (num_stages - 1)) if num_stages > 1 else (8,)
    return {1: (4,), 2: (16, 4), 3: (16, 8, 4)}.get(num_stages, (32, 16, 8, *[4] * (num_stages - 3)))


def module_of_stage(modules: nn.ModuleList, k: int) -> Any:
    """Return the module of stage k (counted from 0), or the shared module."""
    return modules[k if len(modules) > 1 else 0]


def _clipped_logit(mask: Tensor, bound: float = 0.01) -> Tensor:
    """Return the logit of a mask that is clipped to [bound, 1 − bound]."""
    return torch.logit(mask.clamp(bound, 1 - bound))


def _copies(part: Callable[..., nn.Module] | None, copies: int) -> nn.ModuleList:
    """Return ``copies`` of a part; none if it is off."""
    return nn.ModuleList() if part is None else nn.ModuleList(part() for _ in range(copies))


def _own_problems(channels: int, num_stages: int, levels: Any, unfold_stride: int, share_stages: str) -> list[str]:
    """Return the invalid settings of RUN itself, one line each."""
    is_list = isinstance(levels, Sequence) and len(levels) == num_stages and all(level in STRIDES for level in levels)
    orders = " or ".join(get_args(LevelOrder))
    strides = f"{orders}, or a list of {num_stages} strides (one per stage) from {list(STRIDES)}"
    return unmet(
        *at_least_one(num_stages=num_stages, channels=channels),
        *one_of((1, 4), unfold_stride=unfold_stride),
        *one_of(get_args(ShareStages), share_stages=share_stages),
        Expectation("levels", levels, is_list or num_stages < 1, strides),
    )


def _prompt_problems(prompts: Any, mask_step: Any, space: ReversibleStateSpace | None) -> list[str]:
    """Return why prompts cannot enter the stages: there is no mask step that could hold the term."""
    has_step = space is None or (mask_step is not None and space.reads_mask_hat)
    why = "null, as the mask step, which holds the term, is off (mask_step, coupling, state_space)"
    return unmet(Expectation("prompts", "a term", prompts is None or has_step, why))


def _tried(parts: Mapping[str, Callable[..., nn.Module] | None], problems: list[str]) -> dict[str, Any]:
    """Make each part once, and add the settings that it rejects to ``problems``.

    This happens on the meta device, where nothing is computed and no random number is drawn.
    """
    made = {}
    for name, part in parts.items():
        try:
            with torch.device("meta"):
                made[name] = part() if part is not None else None
        except UserError as error:
            problems += [f"{name}.{problem}" for problem in error.problems or (str(error),)]
    return made
