"""Every ablation of `conf/ablation` differs from the full network or loss, and all of it learns from one batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.cli.command import CONF
from src.module import COSModule

ABLATIONS = sorted(path.stem for path in (Path(CONF) / "ablation").glob("*.yaml"))
SMALL = [
    "experiment=camo_lite0",
    "paths.output_dir=out",
    "encoder.name=test_efficientnet",
    "encoder.weights=null",
    "model.net.channels=16",
]


@pytest.fixture(scope="module")
def configs():
    with initialize_config_dir(CONF, version_base="1.3"):
        return {name: compose("train", [*SMALL, f"ablation={name}"]) for name in ABLATIONS}


@pytest.mark.slow
def test_no_two_ablations_are_the_same(configs):
    """`camo_lite0` has unfold_stride 1 already, so that ablation alone equals the full model."""
    by_model: dict[str, list[str]] = {}
    for name, cfg in configs.items():
        by_model.setdefault(json.dumps(OmegaConf.to_container(cfg.model, resolve=True), sort_keys=True), []).append(
            name
        )
    assert [names for names in by_model.values() if len(names) > 1] == [["full", "unfold_stride_1"]]


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.slow
def test_ablation_runs_one_batch(name, configs):
    """Every parameter gets a gradient: DDP has `find_unused_parameters=false`, so parts that are off create none."""
    module: COSModule = instantiate(configs[name].model)
    image, target = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    target[:, :, 16:40, 20:50] = 1
    loss = module.loss(module(image), image, target)["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert [
        parameter for parameter, p in module.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ] == []


@pytest.mark.slow
def test_several_input_scales_leave_nothing_idle():
    """RUN reads no features at stride 4, so there is nothing to merge at that stride."""
    with initialize_config_dir(CONF, version_base="1.3"):
        module: COSModule = instantiate(compose("train", [*SMALL, "encoder.scales=[0.5,1.0]"]).model)
    image, target = torch.rand(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)
    target[:, :, 16:40, 20:50] = 1
    module.loss(module(image), image, target)["loss"].backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []
    assert sorted(module.net.encoder.merging.weights) == ["16", "32", "8"]


@pytest.mark.parametrize(("branches", "absent"), [("small", "_l."), ("large", "_s.")])
def test_one_branch_alone_leaves_nothing_idle(make_run, branches, absent):
    """With γ, a network with the branch `large` alone still uses the mask step, so the step is kept."""
    net = make_run(state_space={"branches": branches}, unfold_stride=4)
    assert not any(absent in name for name in net.state_spaces.state_dict())
    assert len(net.mask_steps) == (branches == "small")
    assert len(make_run(state_space={"branches": branches, "gamma": 0.0}).mask_steps) == 1


def test_without_context_no_level_hears_of_another(make_run):
    net = make_run(context=False).eval()
    features = {s: torch.rand(1, c, 64 // s, 64 // s, requires_grad=True) for s, c in net.encoder.channels.items()}
    for level, merged in net.context(features).items():
        gradients = torch.autograd.grad(merged.sum(), list(features.values()), allow_unused=True)
        assert [s for s, gradient in zip(features, gradients, strict=True) if gradient is not None] == [level]


@pytest.mark.parametrize("robe_image", [True, False])
def test_without_robe_image_u_is_blind_where_the_mask_is_one(make_run, robe_image):
    """In that region B̂ ≈ 0 whatever C is: only C itself can tell U that the mask is wrong (method.md 3.3)."""
    u = make_run(robe={"reads_image": robe_image}).eval().robes[0].network
    mask, background = torch.ones(1, 1, 16, 16), torch.zeros(1, 3, 16, 16)
    one, other = u(mask, background, torch.rand(1, 3, 16, 16)), u(mask, background, torch.rand(1, 3, 16, 16))
    assert torch.equal(one, other) != robe_image
