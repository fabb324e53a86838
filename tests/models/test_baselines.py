"""The rivals: the same interface as RUN, and one with the cost of RUN."""

from __future__ import annotations

import inspect

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch._subclasses.fake_tensor import FakeTensorMode

from src.cli.command import CONF
from src.models.cost import count_parts
from src.models.encoder import PyramidEncoder
from src.models.fpn import FPN
from src.models.outputs import MaskOutput, stage_logits
from src.models.robe import ROBE
from src.models.run import RUN
from src.models.sofs import MaskStep, ReversibleStateSpace
from src.models.unet import UNet
from src.module import COSModule
from src.utils.errors import UserError
from tests.fixtures.tiny import config

SMALL = {
    "fpn": ["model.net.channels=8"],
    "fpn_wide": ["model.net.channels=8"],
    "unet": ["model.net.channels=[16,12,8,8,4]"],
}


def _module(*overrides: str) -> COSModule:
    with initialize_config_dir(CONF, version_base="1.3"):
        cfg = compose("train", ["experiment=camo_lite0", "encoder.weights=null", "paths.output_dir=out", *overrides])
    return instantiate(cfg.model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "overrides",
    [
        *([f"model={model}", *small] for model, small in SMALL.items()),
        ["model=unet", *SMALL["unet"], "model.net.image_skips=true"],
    ],
)
@pytest.mark.parametrize("size", [(97, 131), (32, 33)])
def test_rivals_take_any_size_and_learn_with_every_parameter(overrides, size):
    module = _module(*overrides)
    image, target = torch.rand(2, 3, *size), torch.zeros(2, 1, *size)
    target[..., 10:20, 8:24] = 1
    output = module(image)
    assert isinstance(output, MaskOutput)
    assert output.mask_logits.shape == (2, 1, *size)
    terms = module.loss(output, image, target)
    assert set(terms) == {"loss", "structure"}  # no stages, no edges, nothing to reconstruct
    assert list(stage_logits(output)) == ["M"]
    terms["loss"].backward()
    assert [name for name, p in module.net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_skips_of_the_image_reach_the_mask_past_the_encoder():
    """With fixed encoder features, pixels that cancel in every 2×2 cell change the mask: the stem sees stride 1."""
    net = _module("model=unet", *SMALL["unet"], "model.net.image_skips=true").net.eval()
    image = torch.full((1, 3, 32, 32), 0.5)
    pyramid = net.encoder(image)
    net.encoder.forward = lambda _: dict(pyramid)
    checkered = image.clone()
    checkered[..., ::2, ::2] = checkered[..., 1::2, 1::2] = 0.75
    checkered[..., ::2, 1::2] = checkered[..., 1::2, ::2] = 0.25
    assert (net(checkered).mask_logits - net(image).mask_logits).abs().max() > 1e-4


def _cost(*overrides: str) -> tuple[float, float]:
    net = _module(*overrides).net.eval()
    with FakeTensorMode(allow_non_fake_inputs=True):
        total = count_parts(net, torch.rand(1, 3, 224, 224))[-1]
    return total.parameters, total.gmacs


@pytest.mark.slow
def test_the_wide_pyramid_costs_what_run_costs():
    run, wide = _cost("model=run_quarter"), _cost("model=fpn_wide")
    assert wide == pytest.approx(run, rel=0.1)
    assert run[1] > 2 * _cost("model=fpn")[1]  # which is why it is needed


def test_impossible_widths_and_levels_are_named():
    encoder = PyramidEncoder("lcnet_050", None)
    with pytest.raises(UserError, match=r"model\.net\.levels: got \[8, 16\]"):
        FPN(encoder, 8, [8, 16])
    with pytest.raises(UserError, match=r"model\.net\.levels: got \[4, 5\]"):
        FPN(encoder, 8, [4, 5])
    with pytest.raises(UserError, match=r"model\.net\.channels: got \[16, 8\]"):
        UNet(encoder, [16, 8])


def test_run_paper_names_every_switch_itself():
    """`model=run_paper` is fixed, so that the defaults of `model=run` may be chosen by measurement."""
    own = OmegaConf.to_container(OmegaConf.load(f"{CONF}/model/run_paper.yaml"))["net"]
    parts = {name: own[name] for name in ("mask_step", "state_space", "robe")}
    for target, named, others in (
        (RUN, own, {"encoder", "gradient_checkpointing"}),
        (MaskStep, parts["mask_step"], set()),
        (ReversibleStateSpace, parts["state_space"], {"channels", "coupling", "call", "prompts"}),
        (ROBE, parts["robe"], set()),
    ):
        assert set(named) == set(inspect.signature(target).parameters) - others
    assert own["unfold_stride"] == 1
    assert parts["state_space"]["gamma"] is None
    assert (parts["mask_step"]["mu"], parts["robe"]["lam"], parts["mask_step"]["alpha"]) == (0.01, 0.01, 0.01)


@pytest.mark.parametrize(
    ("model", "resolution"),
    [("run_paper", "pixel"), ("run_quarter", "pixel"), ("fpn_ds", "pixel"), ("run", "space_to_depth")],
)
def test_where_the_learned_parts_of_each_model_convolve(model, resolution):
    """Published and stored networks stay on pixels, whatever `model=run` does."""
    net = config("train", f"model={model}").model.net
    found = (net.mask_step.gradient, net.robe.network, net.robe.widths)
    assert found == (resolution, resolution, [16, 32, 48])
