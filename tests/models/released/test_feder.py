"""FEDER's mask path against outputs of the authors' code, and the parts of its wavelet branches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from src.checkpoints.released import FEDER_VARIANT, released_network
from src.losses import StagewiseLoss
from src.models.encoder import PyramidEncoder
from src.models.released.feder import FEDER
from src.models.released.wavelet import haar_band
from src.utils.errors import UserError
from tests.fixtures.released import NARROW, distances, filled_state, normalised_image


@pytest.mark.slow
def test_logits_are_those_of_the_authors_code():
    net, _ = released_network(filled_state("A", 96, FEDER_VARIANT), Path("filled"))
    net.eval()
    with torch.no_grad():
        found = distances(net.stage_logits(normalised_image("1x384x384", "A")), "fixture_feder_A.npz", "1x384x384", 8)
        assert max(found.values()) < 3e-4, found
        net.one_by_one = False
        found = distances(net.stage_logits(normalised_image("2x384x448", "A")), "fixture_feder_A.npz", "2x384x448", 8)
    assert max(found.values()) < 3e-4, found


def narrow() -> FEDER:
    return FEDER(PyramidEncoder("lcnet_050", None), NARROW)


@pytest.mark.slow
def test_images_do_not_depend_on_each_other_unless_they_shall():
    net, images = narrow().eval().double(), torch.rand(2, 3, 70, 90, dtype=torch.float64)
    with torch.no_grad():
        together, alone = net(images), net(images[1:])
        assert torch.equal(together.mask_logits[1:], alone.mask_logits)
        net.one_by_one = False
        assert not torch.equal(net(images).stages[0].mask_logits[1:], alone.stages[0].mask_logits)
    assert together.mask_logits.shape == (2, 1, 70, 90)


def test_it_learns_with_every_parameter():
    net = narrow()
    net.coarse.head[1].gamma.data.fill_(0.5)  # position attention starts with scale 0
    image, target = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    target[..., 10:40, 20:50] = 1
    StagewiseLoss()(net(image), image, target)["loss"].backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(p.grad.abs().max() > 0 for name, p in net.named_parameters() if name.startswith(("low", "high")))


def test_the_bands_are_those_of_an_orthonormal_transform():
    e = torch.rand(1, 2, 4, 6, dtype=torch.float64)
    cells = F.pixel_unshuffle(e, 2).view(1, 2, 4, 2, 3)  # top left, top right, bottom left, bottom right
    torch.testing.assert_close(haar_band(e, "LL"), cells.sum(2) / 2)
    signs = torch.tensor([1, -1, -1, 1]).view(1, 1, 4, 1, 1)
    torch.testing.assert_close(haar_band(e, "HH"), (signs * cells).sum(2) / 2)


def test_a_width_that_cannot_be_shuffled_is_refused():
    with pytest.raises(UserError, match=r"model\.net\.channels: got 18, expected a multiple of 4"):
        FEDER(PyramidEncoder("lcnet_050", None), 18)
