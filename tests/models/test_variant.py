"""Evaluation variants: each is the same weights, says what it is, and composes with the others."""

from __future__ import annotations

import pytest
import torch

from src.models.encoder import PyramidEncoder
from src.models.fpn import FPN
from src.models.outputs import RUNOutput, stage_logits
from src.models.prompts import Prompt, PromptTerm
from src.models.rounds import InRounds
from src.models.variant import AS_TRAINED, Variant
from src.models.wrappers import Flipped, Sharpened, apply_variant, network_name, unwrapped, variant_of
from src.utils.errors import UserError


def test_as_trained_nothing_is_wrapped(make_run):
    net = make_run(num_stages=1)
    assert apply_variant(net, AS_TRAINED) is net
    assert unwrapped(net) is net


def test_a_wrapped_network_says_what_it_does_and_keeps_its_name(make_run):
    net = make_run(num_stages=1, closing_step=True)
    wrapped = apply_variant(net, Variant(rounds=2, sharpness=1.5, flip=True))
    assert variant_of(wrapped) == Variant(True, 2, 1.5, True)
    assert variant_of(net) == Variant(True)
    assert unwrapped(wrapped) is net
    assert network_name(wrapped) == "RUN"
    assert network_name(make_run(num_stages=1, coupling=False)) == "FPN_DS"


def test_sharpness_scales_the_final_logits_of_any_network_and_no_stage(make_run):
    image = torch.rand(1, 3, 64, 64)
    for net in (make_run(num_stages=1, unfold_stride=4).eval(), FPN(PyramidEncoder("lcnet_050", None), 8).eval()):
        with torch.no_grad():
            plain, sharper = net(image), apply_variant(net, Variant(sharpness=2.0))(image)
        assert torch.equal(sharper.mask_logits, 2 * plain.mask_logits)
        if isinstance(plain, RUNOutput):
            assert torch.equal(stage_logits(sharper)["M_0"], stage_logits(plain)["M_0"])


def test_the_mean_with_the_mirror_image_does_not_know_left_from_right(make_run):
    net = make_run(num_stages=1, unfold_stride=4, closing_step=True, prompts=PromptTerm).eval()
    image = torch.rand(1, 3, 64, 64)
    prompt = Prompt(*torch.rand(3, 1, 1, 64, 64))
    mirrored = Prompt(*(map_.flip(-1) for map_ in prompt))
    flipped = apply_variant(net, Variant(flip=True))
    with torch.no_grad():
        plain, other = net(image).mask_logits, net(image.flip(-1)).mask_logits.flip(-1)
        assert not torch.allclose(plain, other, atol=1e-3)
        torch.testing.assert_close(flipped(image).mask_logits, (plain + other) / 2)
        there, back = flipped(image, prompt=prompt).mask_logits, flipped(image.flip(-1), prompt=mirrored).mask_logits
        torch.testing.assert_close(there, back.flip(-1))
        assert not torch.allclose(there, flipped(image).mask_logits, atol=1e-3)
        looks = apply_variant(net, Variant(rounds=2, flip=True))(image).mask_logits
        torch.testing.assert_close(looks, InRounds(Flipped(net), 2)(image).mask_logits)


def test_the_mask_of_all_rounds_is_sharpened_once(make_run):
    net, image = make_run(num_stages=1, unfold_stride=4).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        both = apply_variant(net, Variant(rounds=2, sharpness=2.0))(image)
        torch.testing.assert_close(both.mask_logits, Sharpened(InRounds(net, 2), 2.0)(image).mask_logits)


def test_all_that_cannot_be_is_told_at_once(make_run):
    for net, name in (
        (FPN(PyramidEncoder("lcnet_050", None), 8), "FPN"),
        (make_run(num_stages=1, coupling=False), "FPN_DS"),
    ):
        with pytest.raises(UserError) as error:
            apply_variant(net, Variant(closing_step=True, rounds=0, sharpness=float("nan")))
        for words in (
            "rounds=0: expected 1",
            "sharpness=nan: expected a number above 0",
            f"closing_step=true: {name} has no mask step",
        ):
            assert words in str(error.value)
