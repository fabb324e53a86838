"""The released network against outputs of the authors' own code, with weights that are made of the tensors' names."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.checkpoints.released import released_network
from src.losses import StagewiseLoss
from src.metrics.functional import stretch, to_8bit
from src.models.encoder import PyramidEncoder
from src.models.outputs import masks_at_size, stage_logits
from src.models.released.network import ReleasedRUN
from src.utils.errors import UserError
from tests.fixtures.released import NARROW, SHARED, distances, filled_state, normalised_image

MASKS = ["m0", "f4", "f3", "f2", "f1"]
CANCELLED = {"coarse.head.1.key_conv.bias", "coarse.out.0.bias"}
"""Parameters without a gradient in training: a constant that softmax cancels, and one that BatchNorm's mean cancels."""


def filled(salt: str, channels: int) -> ReleasedRUN:
    return released_network(filled_state(salt, channels), Path("filled"))[0].eval()


@pytest.fixture(scope="module")
def narrow() -> ReleasedRUN:
    return filled("D", NARROW).double()


@pytest.fixture(scope="module")
def full() -> ReleasedRUN:
    return filled("A", 192)


@torch.no_grad()
def logits_of(net: ReleasedRUN, case: str, salt: str) -> dict[str, Tensor]:
    return net.stage_logits(normalised_image(case, salt).to(net.merge.weight.dtype))


@pytest.mark.parametrize(("case", "stride"), [("1x128x160", 4), ("2x64x96", 4), ("1x352x352", 8)])
def test_narrow_logits_are_those_of_the_authors_code(narrow, case, stride):
    found = distances(logits_of(narrow, case, "D"), "fixture_small_D.npz", case, stride)
    assert list(found) == MASKS
    assert max(found.values()) < 1e-9, found


@pytest.mark.slow
def test_full_logits_are_those_of_the_authors_code(full):
    logits = logits_of(full, "1x384x384", "A")
    single = distances(logits, "fixture_A.npz", "1x384x384", 8)
    assert max(single.values()) < 3e-4, single
    (mask,) = masks_at_size(logits["f1"], [torch.empty(300, 421)])
    saved = to_8bit(stretch(mask.numpy()))[::6, ::6].astype(int)
    levels = np.abs(saved - np.load(SHARED / "fixture_A.npz")["1x384x384/png_300x421"])
    assert levels.max() <= 1
    assert levels.mean() < 0.01
    double = distances(
        logits_of(copy.deepcopy(full).double(), "1x384x384", "A"), "fixture_A_float64.npz", "1x384x384", 8
    )
    assert max(double.values()) < 1e-9, double


def test_a_batch_gives_what_its_images_give(narrow):
    images = normalised_image("2x64x96", "D").double()
    with torch.no_grad():
        together, alone = narrow.stage_logits(images), narrow.stage_logits(images[1:])
    for name in MASKS:
        torch.testing.assert_close(together[name][1:], alone[name], rtol=0, atol=1e-12)


def test_other_sizes_are_padded_by_their_last_row_and_column(narrow):
    image = normalised_image("1x70x101", "D").double()
    padded = image[..., [*range(70), *[69] * 26], :][..., [*range(101), *[100] * 27]]
    with torch.no_grad():
        odd, whole = narrow.stage_logits(image), narrow.stage_logits(padded)
    assert padded.shape[-2:] == (96, 128)
    for name in MASKS:
        torch.testing.assert_close(odd[name], whole[name][..., :70, :101], rtol=0, atol=0)


def test_gradients_reach_every_parameter_that_statistics_do_not_cancel(narrow):
    net = copy.deepcopy(narrow).train()
    sum(
        maps.square().mean() for maps in net.stage_logits(normalised_image("2x64x96", "D").double()).values()
    ).backward()
    sizes = {
        name: 0.0 if parameter.grad is None else parameter.grad.abs().max().item()
        for name, parameter in net.named_parameters()
    }
    assert {name for name, size in sizes.items() if size < 1e-12} == CANCELLED


def test_its_output_is_one_of_masks_alone_that_losses_and_reports_take():
    net = ReleasedRUN(PyramidEncoder("pvt_v2_b0", None), NARROW)
    image, target = torch.rand(2, 3, 65, 70), torch.zeros(2, 1, 65, 70)
    target[..., 10:40, 20:50] = 1
    output = net(image)
    masks = stage_logits(output)
    assert list(masks) == ["M_0", "M_1", "M_2", "M_3", "M_4"]
    assert {maps.shape for maps in masks.values()} == {(2, 1, 65, 70)}
    assert torch.equal(masks["M_4"], output.mask_logits)
    assert (output.masks_hat, output.backgrounds) == ((), ())
    terms = StagewiseLoss(background=1.0)(output, image, target)
    assert set(terms) == {"loss", "structure"}
    final = StagewiseLoss(coarse=0.0)(output._replace(stages=output.stages[-1:]), image, target)["loss"]
    assert terms["loss"] > 1.5 * final  # all five masks are supervised
    net.eval()
    with torch.no_grad():
        logits = net.stage_logits(net.encoder.normalise(image))
        assert torch.equal(net(image).mask_logits, logits["f1"])
        assert torch.equal(net(image).coarse_logits, logits["m0"])


def test_a_width_that_channel_attention_cannot_divide_is_refused():
    with pytest.raises(UserError, match=r"model\.net\.channels: got 15, expected 16 or more"):
        ReleasedRUN(PyramidEncoder("lcnet_050", None), 15)
