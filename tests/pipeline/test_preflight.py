"""What a training is refused for before it starts."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from omegaconf import OmegaConf

from src.losses import StagewiseLoss
from src.module import COSModule
from src.pipeline.preflight import _check_idle_parts
from src.utils.errors import UserError


@pytest.mark.parametrize(
    ("devices", "loss", "words"),
    [
        (2, {"edge": 0.0}, "loss.edge=0: nothing trains the edge heads"),
        (2, {"reconstruction": 0.0, "background": 0.0}, "nothing trains the last stage's ROBE"),
        (2, {"background": 0.0}, None),
        (1, {"edge": 0.0}, None),
    ],
)
def test_a_part_that_no_loss_reaches_is_refused_on_several_devices(make_run, devices, loss, words):
    module = COSModule(make_run(share_stages="none"), StagewiseLoss(**loss), torch.optim.Adam)
    cfg = OmegaConf.create({"train": True, "trainer": {"accelerator": "cpu", "devices": devices}})
    with pytest.raises(UserError, match=words) if words else nullcontext():
        _check_idle_parts(cfg, module)
