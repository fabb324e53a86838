"""Prompts and networks together: clicks where a network's mask is wrong, training with prompts, and testing with them.

`src.data.prompts` does not know networks, `src.models.prompts` no ground truth.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from src.data import prompts, simulated_prompts
from src.data.prompts import Click, Mask, PromptMaps
from src.models.outputs import MaskOutput, RUNOutput, masks_at_size
from src.models.prompts import Prompt
from src.models.run import RUN
from src.ops.precision import without_autocast_cache
from src.utils.errors import UserError

MOST_CLICKS, ENOUGH = 20, 0.8
"""Most corrective clicks that are counted, and the IoU at which a mask needs no more (NoC@80)."""
CLICKS = "clicks_"
"""Prefix of the kinds of prompts that are corrective clicks; their number follows."""


def as_prompt(maps: Sequence[PromptMaps], device: torch.device | None = None) -> Prompt:
    """Return the prompts of N images as one, (N,1,H,W)."""
    return Prompt(*(torch.from_numpy(np.stack(arrays)[:, None]).to(device) for arrays in zip(*maps, strict=True)))


class Clicked(NamedTuple):
    """A mask that was corrected by clicks, one after another.

    Attributes:
        clicks: all of them.
        maps: the map (h, w) in [0, 1] without a click, after the first, after the second …
        needed: number of clicks after which the IoU was `ENOUGH`: 0 if it was before, `MOST_CLICKS` if it never was.
    """

    clicks: list[Click]
    maps: list[Tensor]
    needed: int


def click_through(
    truth: Mask,
    own: Tensor,
    answer: Callable[[Sequence[Click]], Tensor],
    least: int,
    valid: Mask | bool = True,
) -> Clicked:
    """Correct a mask by clicks until it is good enough.

    Args:
        truth: bool (h, w).
        own: the map without clicks, (h, w) in [0, 1].
        answer: returns the map for clicks, likewise.
        least: clicks that are made even if the mask is good enough earlier.
        valid: bool (h, w); ignored pixels count in no IoU, and nobody clicks on them. True: there are none.
    """
    truth = truth & valid

    def answered(clicks: Sequence[Click]) -> Mask:
        maps.append(answer(clicks))
        return _mask(maps[-1]) & valid

    before = _mask(own) & valid
    made, maps, needed = list[Click](), [own], 0 if _iou(before, truth) >= ENOUGH else MOST_CLICKS
    for made, found in simulated_prompts.corrected(truth, before, answered, MOST_CLICKS if needed else least):
        if _iou(found, truth) >= ENOUGH:
            needed = min(needed, len(made))
        if len(made) >= least and needed < MOST_CLICKS:
            break
    return Clicked(made, maps, needed)


def _mask(map_: Tensor) -> Mask:
    found: Mask = map_.cpu().numpy() > 0.5
    return found


def _iou(found: Mask, truth: Mask) -> float:
    union = np.count_nonzero(found | truth)
    return np.count_nonzero(found & truth) / union if union else 1.0


def check_kind(kind: str) -> None:
    """Raise a UserError if there is no such kind of prompt to test with."""
    count = kind.removeprefix(CLICKS)
    clicks = kind.startswith(CLICKS) and count.isdecimal() and 1 <= int(count) <= MOST_CLICKS
    if kind not in simulated_prompts.TRUTHFUL and not clicks:
        expected = f"{', '.join(simulated_prompts.TRUTHFUL)}, or {CLICKS}1 to {CLICKS}{MOST_CLICKS}"
        raise UserError(f"prompts={kind}: expected {expected}")


def told(net: nn.Module, batch: dict[str, Any], kind: str) -> tuple[RUNOutput | MaskOutput, list[int]]:
    """Run a network on an evaluation batch with prompts made from the ground truth and the images' names.

    Args:
        net: a network that takes prompts, or a wrapper of one (:mod:`src.models.wrappers`).
        batch: `image` (N,3,H,W), `mask` bool (h, w) each, `name`, and `valid` as the masks where pixels are ignored.
        kind: see `check_kind`.

    Returns:
        The network's output, and the number of corrective clicks that each mask needed (`Clicked.needed`; empty for
        other kinds than clicks).
    """
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    size, maps, needed = (image.shape[-2], image.shape[-1]), list[PromptMaps](), list[int]()
    for i, (target, name) in enumerate(zip(batch["mask"], batch["name"], strict=True)):
        if kind.startswith(CLICKS):
            count = int(kind.removeprefix(CLICKS))
            valid = batch["valid"][i].cpu().numpy() if "valid" in batch else True
            clicked = _clicked_through(net, image[i : i + 1], target, count, valid)
            maps.append(prompts.clicked(clicked.clicks[:count], size, (target.shape[0], target.shape[1])))
            needed.append(clicked.needed)
        else:
            maps.append(simulated_prompts.truthful(kind, target.cpu().numpy(), size, name))
    output: RUNOutput | MaskOutput = net(image, prompt=as_prompt(maps, image.device))
    return output, needed


def _clicked_through(net: nn.Module, image: Tensor, target: Tensor, least: int, valid: Mask | bool) -> Clicked:
    size, picture = (image.shape[-2], image.shape[-1]), (target.shape[0], target.shape[1])
    run = (
        functools.partial(net.unfold, net.encode(image), image)
        if isinstance(net, RUN)
        else functools.partial(net, image)
    )

    def answer(made: Sequence[Click]) -> Tensor:
        prompt = as_prompt([prompts.clicked(made, size, picture)], image.device)
        return masks_at_size(run(prompt=prompt).mask_logits, [target])[0]

    return click_through(target.cpu().numpy(), answer([]), answer, least, valid)


class Seen(NamedTuple):
    """What a training step compares with the truth: N images without prompts, and n of them once more with theirs.

    Attributes:
        output: of the network.
        image: (N+n,3,H,W).
        target: (N+n,1,H,W).
        valid: likewise; None without ignored pixels.
    """

    output: RUNOutput | MaskOutput
    image: Tensor
    target: Tensor
    valid: Tensor | None

    @classmethod
    def without_prompts(cls, output: RUNOutput | MaskOutput, batch: dict[str, Any]) -> Seen:
        """Return a network's output for a batch together with the batch itself."""
        return cls(output, batch["image"], batch["mask"], batch.get("valid"))


def trained_on(net: nn.Module, batch: dict[str, Any]) -> Seen:
    """Unfold every image of a training batch without its prompt and, if it has one, with it, over the same features.

    All go through the unfolding as one batch, so that BatchNorm normalises both alike, as in evaluation, and counts
    them once. The loss is a mean over that batch: at least half of it is that of images without prompts.

    Args:
        net: takes prompts.
        batch: `image`, `mask`, `valid` where there are ignored pixels, and what `PromptSample` has.
    """
    assert isinstance(net, RUN)
    image = batch["image"].contiguous(memory_format=torch.channels_last)
    features = net.encode(image)
    prompt = Prompt.without_clicks(batch["prompt_target"], batch["prompt_certainty"])
    prompt = _with_clicks(net, features, image, batch, prompt)
    prompted = prompt.certainty.flatten(1).any(1).nonzero().flatten()

    def then_prompted(without: Tensor, given: Tensor) -> Tensor:
        return torch.cat([without, given[prompted]])

    nothing, valid = torch.zeros_like(prompt.certainty), batch.get("valid")
    images, target = then_prompted(image, image), then_prompted(batch["mask"], batch["mask"])
    output = net.unfold(
        {stride: then_prompted(one, one) for stride, one in features.items()},
        images,
        prompt=Prompt(*(then_prompted(nothing, map_) for map_ in prompt)),
    )
    return Seen(output, images, target, None if valid is None else then_prompted(valid, valid))


@torch.no_grad()
def _with_clicks(net: RUN, features: dict[int, Tensor], image: Tensor, batch: dict[str, Any], prompt: Prompt) -> Prompt:
    """Add the clicks that samples ask for, placed where the network's mask is wrong, with the prompt they have.

    Nobody clicks on ignored pixels, where the truth is not known.
    """
    chosen = [i for i, count in enumerate(batch["clicks"].tolist()) if count]
    if not chosen:
        return prompt
    with _as_in_use(net), without_autocast_cache():
        parts = {stride: one[chosen] for stride, one in features.items()}
        before = Prompt(*(map_[chosen] for map_ in prompt))
        masks = net.unfold(parts, image[chosen], prompt=before).mask_logits > 0
    told = Prompt(*(map_.clone() for map_ in prompt))
    for i, mask in zip(chosen, masks.cpu().numpy(), strict=True):
        truth, rng = batch["mask"][i, 0].cpu().numpy() > 0.5, np.random.default_rng(int(batch["click_seed"][i]))
        valid = batch["valid"][i, 0].cpu().numpy() > 0.5 if "valid" in batch else True
        clicks = simulated_prompts.clicks(truth & valid, mask[0] & valid, int(batch["clicks"][i]), rng)
        made = prompts.clicked(clicks, truth.shape)
        under = PromptMaps(*(map_[i, 0].cpu().numpy() for map_ in prompt))
        for map_, new in zip(told, prompts.overlaid(under, made), strict=True):
            map_[i, 0] = torch.from_numpy(new)
    return told


@contextmanager
def _as_in_use(net: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode in the block: BatchNorm counts nothing, and masks are what users will see."""
    modes = {module: module.training for module in net.modules()}
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
