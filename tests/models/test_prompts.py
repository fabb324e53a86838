"""RUN with prompts: they act in M_0 and every step, an empty one changes nothing, and networks without them say so."""

from __future__ import annotations

import functools

import pytest
import torch
import torch.nn.functional as F

from src.models.diagnostics import unfolding_values
from src.models.prompts import CLOSING_NU, LATE_NU, Prompt, PromptTerm
from src.models.resample import pool
from src.models.run import RUN
from src.models.sofs import Branch
from src.utils.errors import UserError

ODD = (97, 131)
WITH_TERM = {"prompts": PromptTerm, "closing_step": True}


def _prompt(size: tuple[int, int] = ODD, count: int = 1) -> Prompt:
    """The prompt of a box: outside it there is no object; the inside is unknown."""
    certainty = torch.full((count, 1, *size), 0.9)
    certainty[..., size[0] // 4 : size[0] // 2, size[1] // 4 : size[1] // 2] = 0
    return Prompt.without_clicks(torch.zeros_like(certainty), certainty)


def _blind(size: tuple[int, int] = ODD) -> Prompt:
    """A prompt with the whole image as its target but certainty 0."""
    return Prompt.without_clicks(torch.ones(1, 1, *size), torch.zeros(1, 1, *size))


def _taught(net: RUN) -> RUN:
    """Give the prompts' convolutions weights, as after training."""
    for space in net.state_spaces:
        for branch in (space.small, space.large):
            torch.nn.init.normal_(branch.prompt.weight, std=0.3)
    return net


@pytest.mark.parametrize("unfold_stride", [1, 4])
@pytest.mark.parametrize("options", [WITH_TERM, {"closing_step": True}])
def test_nothing_said_gives_the_bits_of_the_image_alone(make_run, options, unfold_stride):
    net, image = make_run(unfold_stride=unfold_stride, **options).eval(), torch.rand(1, 3, *ODD)
    if net.prompt_term is not None:
        _taught(net)
    with torch.no_grad():
        alone, blind, said = net(image), net(image, prompt=_blind()), net(image, prompt=_prompt())
    assert torch.equal(alone.mask_logits, blind.mask_logits)
    assert all(torch.equal(*pair) for pair in zip(alone.stage_logits, blind.stage_logits, strict=True))
    assert not torch.equal(alone.mask_logits, said.mask_logits)


def test_without_the_part_only_the_closing_step_has_the_term(make_run):
    net, image = make_run(closing_step=True, unfold_stride=4).eval(), torch.rand(1, 3, *ODD)
    with torch.no_grad():
        alone, said = net(image), net(image, prompt=_prompt())
    assert all(torch.equal(*pair) for pair in zip(alone.stage_logits, said.stage_logits, strict=True))
    outside = pool(_prompt().certainty, 4) > 0.89
    assert (said.closing[outside] <= alone.closing[outside]).all()
    assert said.closing[outside].mean() < 0.8 * alone.closing[outside].mean()
    inside = pool(_prompt().certainty, 4) == 0
    assert torch.equal(said.closing[inside], alone.closing[inside])


def test_other_parameters_start_as_they_do_without_prompts(make_run):
    torch.manual_seed(3)
    plain = make_run(closing_step=True)
    torch.manual_seed(3)
    net = make_run(**WITH_TERM)
    weights = net.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in plain.state_dict().items())
    new = sorted(set(weights) - set(plain.state_dict()))
    branches = [f"state_spaces.{k}.{size}.prompt.weight" for k in range(4) for size in ("large", "small")]
    assert new == ["prompt_term.nu.theta", *branches]
    assert not any(weights[name].any() for name in branches)
    assert unfolding_values(net)["nu"] == pytest.approx(1.0)
    assert "nu" not in unfolding_values(plain)
    assert any(one is net.prompt_term.nu.theta for one in net.unfolding_parameters())


def test_great_certainty_gives_what_was_said_in_every_stage_and_little_of_it_in_the_closing_step(make_run):
    net = make_run(prompts=functools.partial(PromptTerm, nu=1e7), closing_step=True).eval()
    target = (torch.rand(1, 1, *ODD) > 0.5).float()
    certainty = (torch.rand(1, 1, *ODD) > 0.3).float()
    clicked = certainty * (torch.rand(1, 1, *ODD) > 0.5)
    image = torch.rand(1, 3, *ODD)
    with torch.no_grad():
        output = net(image, prompt=Prompt(target, certainty, clicked))
        *_, before, last = output.stages
        trust = torch.where(clicked > 0, CLOSING_NU, LATE_NU) * certainty
        state = (image, last.background, last.mask, before.mask, target, trust)
        closing, _ = net.mask_steps[-1](*state, is_closing=True)
    for mask in (output.coarse_logits.sigmoid(), *(stage.mask_hat for stage in output.stages)):
        assert (mask - target)[certainty > 0].abs().max() < 0.0011
    assert torch.equal(output.closing, closing)


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_gradients_reach_the_weight_the_channels_and_what_was_said(make_run, unfold_stride):
    net = make_run(unfold_stride=unfold_stride, **WITH_TERM)
    target, certainty = torch.rand(2, 1, *ODD).requires_grad_(), torch.rand(2, 1, *ODD).requires_grad_()
    output = net(torch.rand(2, 3, *ODD), prompt=Prompt.without_clicks(target, certainty))
    output.mask_logits.square().mean().backward()
    new = [
        net.prompt_term.nu.theta,
        *(branch.prompt.weight for space in net.state_spaces for branch in _branches(space)),
    ]
    assert all(one.grad.abs().max() > 0 for one in (*new, target, certainty))


def test_gradient_of_the_weight_is_that_of_the_objective(make_run):
    """The gradient of M̂_1 alone, against a difference quotient."""
    net, image, prompt = make_run(**WITH_TERM).eval(), torch.rand(1, 3, *ODD), _prompt()
    theta = net.prompt_term.nu.theta
    slope = torch.autograd.grad(net(image, prompt=prompt).stages[0].mask_hat.mean(), theta)[0]
    means = []
    with torch.no_grad():
        for step in (0.05, -0.1):
            theta += step
            means.append(net(image, prompt=prompt).stages[0].mask_hat.double().mean())
    assert float(slope) == pytest.approx(float(means[0] - means[1]) / 0.1, rel=0.05)
    assert slope < 0


def _branches(space):
    return space.small, space.large


@pytest.mark.parametrize("size", [(33, 47), (97, 131), (300, 200)])
def test_a_prompt_may_have_any_size(make_run, size):
    net, image = make_run(unfold_stride=4, **WITH_TERM).eval(), torch.rand(1, 3, *ODD)
    with torch.no_grad():
        said, wanted = net(image, prompt=_prompt(size)), net(image, prompt=_prompt())
        assert torch.equal(net(image, prompt=_blind(size)).mask_logits, net(image).mask_logits)
    assert said.mask_logits.shape == (1, 1, *ODD)
    assert (said.masks_hat[0] - wanted.masks_hat[0]).abs().mean() < 0.02


def test_each_image_of_a_batch_has_its_own_prompt(make_run):
    net, images = _taught(make_run(unfold_stride=4, **WITH_TERM)).eval(), torch.rand(2, 3, *ODD)
    one, none = _prompt(), _blind()
    both = Prompt(*(torch.cat(maps) for maps in zip(one, none, strict=True)))
    with torch.no_grad():
        together = net(images, prompt=both).mask
        alone = torch.cat([net(images[:1], prompt=one).mask, net(images[1:]).mask])
    assert (together - alone).abs().mean() < 1e-4


def test_pooling_and_resizing_weigh_what_was_said_by_its_certainty():
    target = torch.tensor([[1.0, 0.0, 0.3, 0.7], [1.0, 1.0, 0.3, 0.7]])[None, None]
    certainty = torch.tensor([[0.4, 0.4, 0.0, 0.0], [0.8, 0.0, 0.0, 0.0]])[None, None]
    pooled = Prompt(target, certainty, certainty / 2).pooled(2)
    torch.testing.assert_close(pooled.target.flatten(), torch.tensor([0.75, 0.0]))
    torch.testing.assert_close(pooled.certainty.flatten(), torch.tensor([0.4, 0.0]))
    torch.testing.assert_close(pooled.clicked.flatten(), torch.tensor([0.2, 0.0]))
    torch.testing.assert_close(pooled.channels().flatten(), torch.tensor([0.2, 0.0, 0.4, 0.0]))
    enlarged = Prompt.without_clicks(target, certainty).resized(20, 40)
    assert (enlarged.target[..., :4, :3] == 1).all()
    assert (enlarged.certainty[..., 30:] == 0).all()
    assert Prompt.without_clicks(target, certainty).resized(2, 4).target is target


def test_features_may_be_shared_by_several_passes(make_run):
    net, image = make_run(unfold_stride=4, **WITH_TERM).eval(), torch.rand(1, 3, *ODD)
    with torch.no_grad():
        features = net.encode(image)
        assert torch.equal(net.unfold(features, image).mask_logits, net(image).mask_logits)
        said = net.unfold(features, image, prompt=_prompt()).mask_logits
        assert torch.equal(said, net(image, prompt=_prompt()).mask_logits)


def test_gradient_checkpointing_changes_nothing_but_memory_with_prompts(make_run):
    image, grads = torch.rand(2, 3, *ODD), []
    plain = _taught(make_run(unfold_stride=4, **WITH_TERM))
    saving = make_run(unfold_stride=4, gradient_checkpointing=True, **WITH_TERM)
    saving.load_state_dict(plain.state_dict())
    for net in (plain, saving):
        net(image, prompt=_prompt(count=2)).mask_logits.square().mean().backward()
        grads.append([net.prompt_term.nu.theta.grad, net.state_spaces[1].small.prompt.weight.grad])
    torch.testing.assert_close(grads[0], grads[1])


def test_who_takes_prompts_and_what_the_others_say(make_run):
    assert make_run(**WITH_TERM).takes_prompts
    assert make_run(prompts=PromptTerm).takes_prompts
    assert make_run(closing_step=True).takes_prompts
    plain, image = make_run(), torch.rand(1, 3, *ODD)
    assert not plain.takes_prompts
    with pytest.raises(UserError, match="no closing step"):
        plain.eval()(image, prompt=_prompt())
    with pytest.raises(UserError, match=r"model\.net\.prompts"):
        make_run(closing_step=True)(torch.rand(2, 3, *ODD), prompt=_prompt())


@pytest.mark.parametrize("off", [{"mask_step": None}, {"coupling": False}, {"state_space": {"branches": "large"}}])
def test_the_term_needs_a_mask_step(make_run, off):
    with pytest.raises(UserError, match=r"model\.net\.prompts: .*mask step"):
        make_run(prompts=PromptTerm, **off)
    with pytest.raises(UserError, match=r"model\.net\.prompts\.nu: got 0"):
        make_run(prompts=functools.partial(PromptTerm, nu=0.0))


def test_without_phi_the_branches_are_not_shown_prompts(make_run):
    net = make_run(state_space={"phi": False}, **WITH_TERM)
    assert [name for name in net.state_dict() if "prompt" in name] == ["prompt_term.nu.theta"]


@torch.no_grad()
def test_phi_reads_prompts_before_its_norm_and_skips_them_without_one():
    branch, x, shown = Branch(8, "small", True, True, True).eval(), torch.rand(1, 8, 6, 7), torch.rand(1, 2, 6, 7)
    torch.nn.init.normal_(branch.prompt.weight)
    shown_to, normed = list[torch.Tensor](), list[torch.Tensor]()
    branch.prompt.register_forward_pre_hook(lambda _, given: shown_to.extend(given))
    branch.phi[1].register_forward_pre_hook(lambda _, given: normed.extend(given))
    branch(x)
    branch(x, shown)
    convolved = branch.phi[0](x)
    assert len(shown_to) == 1
    torch.testing.assert_close(normed[0], convolved)
    torch.testing.assert_close(normed[1], convolved + F.conv2d(shown, branch.prompt.weight, padding=1))
