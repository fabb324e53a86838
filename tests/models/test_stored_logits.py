"""Networks that are made from a seed compute what they computed when these numbers were stored.

A change of the initial values, of a formula or of the order in which parts are made shows here, where no other test
need notice. Where such a change is meant, print `logits_at_places` and store the new numbers. Other processors and
numbers of threads move the logits by some 1e-6, as noise of 1e-6 in the image does; no mask is near a threshold of the
filter.
"""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate

from tests.fixtures.tiny import config

PLACES = [(5, 7), (11, 50), (24, 24), (32, 3), (47, 60), (62, 31)]
"""Row and column of the pixels, of 64 × 64."""

PIXELS = "run model.net.mask_step.gradient=pixel model.net.mask_step.residual=true model.net.robe.network=pixel"
"""Settings of files that are older than `space_to_depth`."""

STORED = {
    "run": [-0.278989, 0.230646, -0.015066, -0.190962, 0.112862, -0.006027],
    PIXELS: [0.024485, 0.34039, 0.068548, 0.472596, -0.215242, 0.231266],
    "fpn_ds": [0.095153, 0.194024, 0.220277, 0.111406, 0.093749, 0.270567],
}


def logits_at_places(model: str) -> list[float]:
    """The logits of ``model=…`` with 16 channels and lite0, made from seed 0, for an image of seed 1."""
    small = ["encoder.name=tf_efficientnet_lite0", "encoder.weights=null", "model.net.channels=16"]
    torch.manual_seed(0)
    net = instantiate(config("train", *f"model={model}".split(), *small).model.net).eval()
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        logits = net(image).mask_logits
    return [float(logits[0, 0, row, column]) for row, column in PLACES]


@pytest.mark.parametrize("model", STORED)
def test_logits_are_the_stored_ones(model):
    assert logits_at_places(model) == pytest.approx(STORED[model], abs=1e-5)
