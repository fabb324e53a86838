"""Training and testing with prompts: one encoder pass, BatchNorm counted once, clicks where the mask is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from src.checkpoints.network import build
from src.data import prompts, simulated_prompts
from src.data.prompts import Click, PromptMaps
from src.losses import StagewiseLoss
from src.models.outputs import MaskOutput, masks_at_size
from src.models.prompts import Prompt
from src.models.run import RUN
from src.models.variant import Variant
from src.models.wrappers import apply_variant
from src.module import COSModule
from src.pipeline.preflight import _check_prompting
from src.prompting import MOST_CLICKS, as_prompt, check_kind, click_through, told, trained_on
from src.report.figures.network_panels import network_panels
from src.report.network import _prompt_notes
from src.utils.errors import UserError
from tests.fixtures.tiny_network import tiny_config

SIZE = 64


def prompted_net(**settings: Any) -> RUN:
    torch.manual_seed(0)
    prompts = {"_target_": "src.models.prompts.PromptTerm", "_partial_": True}
    made: RUN = build(tiny_config(num_stages=2, unfold_stride=4, prompts=prompts, **settings)["model"]["net"])
    return made


@pytest.fixture
def net() -> RUN:
    return prompted_net()


def truth(count: int = 3) -> Tensor:
    mask = torch.zeros(count, 1, SIZE, SIZE)
    for i in range(count):
        mask[i, 0, 8 + 8 * i : 30 + 8 * i, 20:45] = 1
    return mask


def batch(*clicks: int) -> dict[str, Any]:
    """A batch of images with one box each, and the number of clicks to add."""
    mask = truth(len(clicks))
    made = [simulated_prompts.box(one[0].numpy() > 0, (SIZE, SIZE), 0.0, simulated_prompts.seeded("")) for one in mask]
    prompt = as_prompt(made)
    return {
        "image": torch.rand(len(clicks), 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)),
        "mask": mask,
        "name": [f"image_{i}" for i in range(len(clicks))],
        "prompt_target": prompt.target,
        "prompt_certainty": prompt.certainty,
        "clicks": torch.tensor(clicks),
        "click_seed": torch.arange(len(clicks)) + 7,
    }


def norms(net: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]


def test_a_step_sees_every_image_without_and_with_its_prompt(net, monkeypatch):
    passes = list[Prompt]()
    unfold, encoded = net.unfold, list[Tensor]()
    monkeypatch.setattr(
        net, "unfold", lambda *given, prompt=None: passes.append(prompt) or unfold(*given, prompt=prompt)
    )
    net.encoder.register_forward_hook(lambda *_: encoded.append(torch.ones(())))
    given, told = batch(0, 0, 0), [0, 2]
    given["prompt_certainty"][1] = 0
    seen = trained_on(net.train(), given)
    assert len(encoded) == len(passes) == 1
    assert not passes[0].certainty[:3].any()
    assert torch.equal(passes[0].certainty[3:], given["prompt_certainty"][told])
    assert torch.equal(passes[0].target[3:], given["prompt_target"][told])
    assert seen.output.mask_logits.shape == (5, 1, SIZE, SIZE)
    assert torch.equal(seen.image, torch.cat([given["image"], given["image"][told]]))
    assert torch.equal(seen.target, torch.cat([given["mask"], given["mask"][told]]))
    assert seen.valid is None


def test_batch_norm_counts_a_step_once_even_with_clicks(net):
    frozen = norms(net.train())[0].eval()
    counts = []
    for step in (lambda given: net(given["image"]), lambda given: trained_on(net, given)):
        before = [norm.num_batches_tracked.clone() for norm in norms(net)]
        step(batch(0, 2, 1))
        counts.append([int(norm.num_batches_tracked - old) for norm, old in zip(norms(net), before, strict=True)])
    assert counts[0] == counts[1]
    assert counts[0][:2] == [0, 1]
    assert [module for module in net.modules() if not module.training] == [frozen]


def test_a_step_in_which_nothing_is_said_is_that_of_a_training_without_prompts(net):
    """The same loss, gradients and running statistics: every image is unfolded once."""
    given = batch(0, 0)
    given["prompt_certainty"] = torch.zeros_like(given["prompt_certainty"])
    told, once = net.train(), deepcopy(net).train()
    seen = trained_on(told, given)
    assert len(seen.image) == 2
    losses = [
        StagewiseLoss()(seen.output, seen.image, seen.target)["loss"],
        StagewiseLoss()(once(given["image"]), given["image"], given["mask"])["loss"],
    ]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for (name, one), (_, other) in zip(told.named_parameters(), once.named_parameters(), strict=True):
        assert (other.grad is None) == ("prompt" in name)
        if other.grad is not None:
            torch.testing.assert_close(
                one.grad, other.grad, rtol=1e-3, atol=1e-4 * float(other.grad.abs().max()) + 1e-7
            )
    for one, other in zip(norms(told), norms(once), strict=True):
        torch.testing.assert_close(one.running_mean, other.running_mean, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"share_stages": "none", "gradient_checkpointing": True}])
def test_nothing_said_gives_the_bits_of_the_image_alone_in_training_too(settings):
    net, image = prompted_net(**settings).train(), batch(0, 0)["image"]
    for name, parameter in net.named_parameters():
        if name.endswith("prompt.weight"):
            nn.init.normal_(parameter)
    nothing = Prompt.without_clicks(torch.ones(2, 1, SIZE, SIZE), torch.zeros(2, 1, SIZE, SIZE))
    alone, blind = net(image), net(image, prompt=nothing)
    assert torch.equal(alone.mask_logits, blind.mask_logits)
    assert all(torch.equal(*pair) for pair in zip(alone.stage_logits, blind.stage_logits, strict=True))


def test_all_parameters_of_prompts_learn(net):
    for parameter in net.parameters():
        parameter.grad = None
    seen = trained_on(net.train(), batch(0, 1))
    StagewiseLoss()(seen.output, seen.image, seen.target)["loss"].backward()
    idle = [name for name, one in net.named_parameters() if one.grad is None or not one.grad.isfinite().all()]
    assert idle == []
    nu = [one.grad for name, one in net.named_parameters() if "nu" in name.split(".")]
    assert nu
    assert all(grad.abs() > 0 for grad in nu)


def clicked_prompt(net: RUN, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Prompt:
    """The prompts that a step unfolds with."""
    passes, unfold = list[Prompt](), net.unfold
    with monkeypatch.context() as patch:
        patch.setattr(net, "unfold", lambda *given, prompt=None: passes.append(prompt) or unfold(*given, prompt=prompt))
        trained_on(net.train(), given)
    half = len(given["image"])
    return Prompt(*(map_[half:] for map_ in passes[-1]))


def test_clicks_are_true_and_only_where_they_are_asked_for(net, monkeypatch):
    given = batch(0, 3)
    made = clicked_prompt(net, given, monkeypatch)
    assert torch.equal(made.certainty[0], given["prompt_certainty"][0])
    added = made.certainty[1] != given["prompt_certainty"][1]
    assert added.any()
    centre = made.certainty[1] * added > 0.8 * prompts.TRUST
    assert torch.equal(made.target[1][centre], given["mask"][1][centre])
    assert not made.clicked[0].any()
    middle = made.clicked[1] > 0.8 * prompts.TRUST
    assert middle.any()
    assert torch.equal(made.clicked[1][middle], made.certainty[1][middle])


def test_clicks_are_placed_where_one_pass_without_gradients_finds_the_mask_wrong(net, monkeypatch):
    """The pass reuses the features, hears the prompt so far, and is of the network in use; here its mask is too low."""
    given, passes, encoded, made = batch(0, 5), list[dict[str, Any]](), list[Tensor](), list[Click]()
    found = given["mask"].roll(10, dims=2)
    unfold, clicked = net.unfold, prompts.clicked

    def watched(features: Any, image: Tensor, prompt: Prompt) -> Any:
        passes.append({"trains": net.training, "grad": torch.is_grad_enabled(), "prompt": prompt})
        return unfold(features, image, prompt=prompt) if net.training else MaskOutput(found[1:] - 0.5)

    monkeypatch.setattr(net, "unfold", watched)
    monkeypatch.setattr(prompts, "clicked", lambda clicks, size: made.extend(clicks) or clicked(clicks, size))
    net.encoder.register_forward_hook(lambda *_: encoded.append(torch.ones(())))
    seen = trained_on(net.train(), given)
    assert len(encoded) == 1
    assert seen.output.mask_logits.requires_grad
    assert [(one["trains"], one["grad"]) for one in passes] == [(False, False), (True, True)]
    assert torch.equal(passes[0]["prompt"].certainty, given["prompt_certainty"][1:])
    assert {click.is_object for click in made} == {True, False}
    for click in made:
        place = 1, 0, int(click.y * SIZE), int(click.x * SIZE)
        assert given["mask"][place] != found[place]
        assert given["mask"][place] == click.is_object


def test_clicks_depend_on_their_seed_and_the_network_alone(net, monkeypatch):
    given = batch(2, 2)
    first, again = (clicked_prompt(deepcopy(net), given, monkeypatch).certainty for _ in range(2))
    torch.manual_seed(99)
    other = clicked_prompt(deepcopy(net), given | {"click_seed": torch.tensor([1, 2])}, monkeypatch).certainty
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_nobody_clicks_on_ignored_pixels(net, monkeypatch):
    """They are 0 in the mask, as background is, and a click would say that there is no object."""
    given = batch(4, 4)
    assert not torch.equal(clicked_prompt(net, given, monkeypatch).certainty, given["prompt_certainty"])
    all_ignored = given | {"valid": torch.zeros_like(given["mask"])}
    assert torch.equal(clicked_prompt(net, all_ignored, monkeypatch).certainty, given["prompt_certainty"])


def test_clicks_leave_no_weights_without_gradients_to_autocast(net, monkeypatch):
    """The cache of older torch would hand them to the pass with gradients."""
    kept, unfold = list[bool](), net.unfold
    monkeypatch.setattr(
        net, "unfold", lambda *given, **more: kept.append(torch.is_autocast_cache_enabled()) or unfold(*given, **more)
    )
    trained_on(net.train(), batch(0, 2))
    assert kept == [False, True]


@torch.no_grad()
def test_a_test_tells_the_truth_by_the_images_names(net):
    given = batch(0, 0)
    given["mask"] = [mask[0, :50].bool() for mask in given["mask"]]
    output, needed = told(net.eval(), given, "coarse_1")
    maps = [
        simulated_prompts.truthful("coarse_1", mask.numpy(), (SIZE, SIZE), name)
        for mask, name in zip(given["mask"], given["name"], strict=True)
    ]
    assert needed == []
    torch.testing.assert_close(output.mask_logits, net(given["image"], prompt=as_prompt(maps)).mask_logits)
    renamed, _ = told(net, given | {"name": ["a", "b"]}, "coarse_1")
    assert not torch.equal(output.mask_logits, renamed.mask_logits)


@torch.no_grad()
def test_clicks_of_a_test_mend_the_mask(net):
    given = batch(0, 0)
    given["mask"] = [mask[0].bool() for mask in given["mask"]]
    errors = []
    for kind in ("clicks_1", "clicks_5"):
        output, needed = told(net.eval(), given, kind)
        errors.append(float((output.mask - truth(2)).abs().mean()))
        assert len(needed) == 2
        assert all(0 <= count <= MOST_CLICKS for count in needed)
    assert errors[1] < errors[0] < float((net(given["image"]).mask - truth(2)).abs().mean())


@torch.no_grad()
def test_a_network_in_rounds_is_told_too(net):
    given = batch(0)
    given["mask"] = [mask[0].bool() for mask in given["mask"]]
    sharper, again = (apply_variant(net.eval(), Variant(**options)) for options in ({"sharpness": 2.0}, {"rounds": 2}))
    for kind in ("box", "clicks_2"):
        plain, needed = told(net, given, kind)
        sharp, needed_too = told(sharper, given, kind)
        assert needed == needed_too
        torch.testing.assert_close(sharp.mask_logits, 2 * plain.mask_logits)
        assert len(told(again, given, kind)[1]) == len(needed)
    maps = simulated_prompts.truthful("box", given["mask"][0].numpy(), (SIZE, SIZE), "image_0")
    expected = again(given["image"], prompt=as_prompt([maps])).mask_logits
    torch.testing.assert_close(told(again, given, "box")[0].mask_logits, expected)


def answering(target: np.ndarray, good_after: int) -> Any:
    def answer(made: Sequence[Click]) -> Tensor:
        good = len(made) >= good_after
        return torch.from_numpy(target * 1.0) if good else torch.zeros(target.shape)

    return answer


def test_clicks_are_counted_until_the_mask_is_good():
    target = truth(1)[0, 0].numpy() > 0
    nothing = torch.zeros(target.shape)
    found = click_through(target, nothing, answering(target, 3), least=1)
    assert (found.needed, len(found.clicks), len(found.maps)) == (3, 3, 4)
    assert click_through(target, torch.from_numpy(target * 1.0), answering(target, 0), least=5).needed == 0
    given_up = click_through(target, nothing, answering(target, 99), least=1)
    assert (given_up.needed, len(given_up.clicks)) == (MOST_CLICKS, MOST_CLICKS)


def test_ignored_pixels_need_no_click():
    target = truth(1)[0, 0].numpy() > 0
    own, valid = torch.from_numpy(target * 1.0), np.ones(target.shape, bool)
    own[40:, 46:], valid[40:, 46:] = 1, False  # larger than the object, so that the IoU would be below a half
    known = click_through(target, own, answering(target, 0), least=3, valid=valid)
    assert (known.needed, known.clicks, len(known.maps)) == (0, [], 1)
    everywhere = click_through(target, own, answering(target, 0), least=3)
    assert (everywhere.needed, [click.is_object for click in everywhere.clicks]) == (1, [False])
    masks = [target & valid, target | ~valid]  # whatever stands there in the truth
    assert all(click_through(one, own, answering(one, 0), 1, valid).needed == 0 for one in masks)


@torch.no_grad()
def test_ignored_pixels_are_not_clicked_in_a_test(net):
    given = batch(0) | {"mask": [truth(1)[0, 0].bool()]}
    assert told(net.eval(), given, "clicks_1")[1] != [0]
    ignored = given | {"valid": [torch.zeros(SIZE, SIZE, dtype=torch.bool)]}
    output, needed = told(net, ignored, "clicks_1")
    assert needed == [0]
    torch.testing.assert_close(output.mask_logits, net(given["image"]).mask_logits)


def module_of(net: nn.Module, prompted: str | None = None) -> COSModule:
    made = COSModule(net, StagewiseLoss(), torch.optim.Adam)
    made.prompts = prompted
    return made


def test_a_report_of_a_wrapped_network_says_where_the_term_is(net):
    for variant in (Variant(), Variant(rounds=2), Variant(sharpness=2.0)):
        (note,) = _prompt_notes(module_of(apply_variant(net, variant), "box"))
        assert "they are a term of every stage." in note


@torch.no_grad()
def test_pictures_of_a_report_show_what_was_scored(net):
    given = batch(0)
    sample = {"image": given["image"][0], "mask": truth(1)[0, 0].bool(), "name": "image_0"}
    for kind in ("box", "clicks_1", None):
        maps = dict(network_panels(module_of(net, kind), sample))
        as_batch = {"image": given["image"], "mask": [sample["mask"]], "name": ["image_0"]}
        output = net.eval()(given["image"]) if kind is None else told(net.eval(), as_batch, kind)[0]
        np.testing.assert_array_equal(maps["$M_1$"], masks_at_size(output.stages[0].mask_logits, [sample["mask"]])[0])


@pytest.mark.parametrize(
    ("data", "takes", "settings", "words"),
    [
        ("recipe", True, {}, None),
        (None, False, {"compile": True}, None),
        (None, True, {"train": False}, None),
        ("recipe", False, {}, "data.prompts: this RUN takes none"),
        (None, True, {}, "model.net.prompts: nothing trains this part without data.prompts"),
        ("recipe", True, {"compile": True}, "compile=true: a training with prompts"),
    ],
)
def test_prompts_of_the_data_and_of_the_network_belong_together(net, data, takes, settings, words):
    if not takes:
        net.prompt_term = None
    cfg = OmegaConf.create({"train": True, "compile": False, "data": {"prompts": data}} | settings)
    with pytest.raises(UserError, match=words) if words else nullcontext():
        _check_prompting(cfg, module_of(net))


def test_kinds_of_prompts():
    for kind in ("box", "box_jitter", "coarse_3", "clicks_1", "clicks_20"):
        check_kind(kind)
    for kind in ("boxes", "coarse_4", "clicks_0", "clicks_21", "clicks_x", "clicks_"):
        with pytest.raises(UserError, match=f"prompts={kind}: expected box, box_jitter, .*, or clicks_1 to clicks_20"):
            check_kind(kind)


def test_prompts_of_images_become_one():
    maps = [PromptMaps(*(np.full((2, 3), i / part, np.float32) for part in (1, 2, 4))) for i in range(2)]
    prompt = as_prompt(maps)
    assert prompt.target.shape == (2, 1, 2, 3)
    assert [float(map_[1].mean()) for map_ in prompt] == [1, 0.5, 0.25]
