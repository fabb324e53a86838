"""The closing step that is measured with several ν is the network's own."""

from __future__ import annotations

import pytest
import torch

from scripts.results.prompts import closing_logits
from src.models.prompts import CLOSING_NU, Prompt


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_the_measured_closing_step_is_that_of_the_network(make_run, unfold_stride):
    net, image = make_run(closing_step=True, unfold_stride=unfold_stride).eval(), torch.rand(2, 3, 64, 96)
    prompt = Prompt(*torch.rand(3, 2, 1, 64, 96))
    with torch.no_grad():
        measured = closing_logits(net, image, net(image), prompt, CLOSING_NU)
        torch.testing.assert_close(measured, net(image, prompt=prompt).mask_logits)
        assert not torch.equal(measured, closing_logits(net, image, net(image), prompt, 2 * CLOSING_NU))
