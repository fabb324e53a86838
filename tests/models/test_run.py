"""The unfolded network: every flaw of the released code that method.md 6 names, and the promises of architecture.md."""

from __future__ import annotations

import inspect

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from src.cli.command import CONF
from src.losses import StagewiseLoss
from src.models.cost import kept_bytes
from src.models.encoder import PyramidEncoder
from src.models.fpn import FPN
from src.models.outputs import RUNOutput, stage_logits
from src.models.resample import pad_to_multiple, pool, upsample
from src.models.robe import ROBE, background_step
from src.models.run import RUN
from src.models.sofs import MaskStep, ReversibleStateSpace, mask_step, residual_filter, reversed_mask
from src.utils.errors import UserError

ODD = (97, 131)
WIDE_U = [32, 48, 64]
"""Widths of U at which its initial values and its memory have been measured."""


OFF = {
    "residual": {"mask_step": {"residual": False}},
    "mask_step": {"mask_step": None},
    "background_evidence": {"background_evidence": False},
    "robe": {"robe": None},
    "scan": {"state_space": {"scan": False}},
    "edge_head": {"state_space": {"edge_head": False}},
    "coupling": {"coupling": False},
}
"""How each part is switched off."""


def _blob(centre: tuple[int, int], size: tuple[int, int] = ODD, radius: int = 22) -> torch.Tensor:
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    return (((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) < radius**2).float().expand(1, 1, -1, -1)


def _wake_batchnorm(module: nn.Module) -> None:
    """timm starts the last BatchNorm of ResNet's branches at scale 0; behind it nothing has a gradient at step 0."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and not norm.weight.any():
            nn.init.constant_(norm.weight, 0.5)


def _without_gradient(net: nn.Module) -> list[str]:
    return [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]


@pytest.mark.parametrize("encoder", ["tf_efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize(
    "options", [{}, {"unfold_stride": 4}, {"share_stages": "none"}, {"state_space": {"gamma": 0.0}, "unfold_stride": 4}]
)
def test_every_parameter_gets_a_gradient_from_the_loss(make_run, encoder, options):
    net = make_run(encoder, **options)
    _wake_batchnorm(net)
    image, target = torch.rand(2, 3, *ODD), torch.cat([_blob((40, 60)), _blob((60, 40))])
    StagewiseLoss(background=0.5)(net(image), image, target)["loss"].backward()
    assert _without_gradient(net) == []


@pytest.mark.parametrize("closing_step", [False, True])
@pytest.mark.parametrize("share", ["unfolding", "none"])
def test_final_mask_reaches_every_parameter_of_every_stage(make_run, share, closing_step):
    """Flaw 1 of the released code: its final mask depends on no parameter of SOFS or ROBE.

    With nothing shared, U_K and λ_K act after M_K and learn from the reconstruction only (method.md 3.6); a closing
    step reads B_K.
    """
    net = make_run(share_stages=share, closing_step=closing_step)
    net.training = not closing_step  # its BatchNorms stay in training, where an untrained network's masks differ enough
    _wake_batchnorm(net)
    net(torch.rand(2, 3, *ODD)).mask_logits.square().mean().backward()
    after_the_mask = ("edge_head", "robes.3.") if share == "none" and not closing_step else ("edge_head",)
    assert [name for name in _without_gradient(net) if not any(word in name for word in after_the_mask)] == []


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_final_mask_reaches_mask_background_and_mask_hat_of_every_stage(make_run, unfold_stride):
    """Use three random inputs, because clamps may block the gradient for one of them."""
    net = make_run(unfold_stride=unfold_stride)
    reached: set[str] = set()
    for seed in range(3):
        torch.manual_seed(seed)
        output = net(torch.rand(2, 3, *ODD))
        watched = {f"mask_hat_{k}": stage.mask_hat for k, stage in enumerate(output.stages)}
        for k, stage in enumerate(output.stages[:-1]):
            watched |= {f"mask_{k}": stage.mask, f"background_{k}": stage.background}
        grads = torch.autograd.grad(output.mask_logits.square().mean(), list(watched.values()), allow_unused=True)
        reached |= {
            name for name, grad in zip(watched, grads, strict=True) if grad is not None and grad.abs().max() > 0
        }
    assert reached == set(watched)


def _sensitivity(space: ReversibleStateSpace, channels: int) -> float:
    """RMS change of the logits, over their spread, when the object's mask is moved elsewhere."""
    feature, image = torch.randn(2, channels, 25, 33).relu(), torch.rand(2, 3, *ODD)
    logits = []
    for centre in ((30, 40), (65, 95)):
        mask = 0.05 + 0.9 * _blob(centre).expand(2, -1, -1, -1)
        reverse = reversed_mask(image, (1 - mask) * image, mask)
        logits.append(space(feature, pool(mask, 4), pool(reverse, 4))[0])
    return ((logits[0] - logits[1]).square().mean().sqrt() / logits[0].std()).item()


def test_state_space_feels_the_mask():
    """method.md 3.2: a moved mask changes the logits by 5 % of their spread at least; without φ by less than 2 %."""
    assert _sensitivity(ReversibleStateSpace(64).train(), 64) >= 0.05
    assert _sensitivity(ReversibleStateSpace(64, phi=False).train(), 64) < 0.02


def test_two_eval_passes_are_identical_and_state_dict_round_trips(make_run):
    """Flaw 2: the released state-space blocks are made anew, at random, in every forward."""
    net = make_run().eval()
    image = torch.rand(1, 3, *ODD)
    modules = [id(module) for module in net.modules()]
    with torch.no_grad():
        first, second = net(image).mask_logits, net(image).mask_logits
        twin = make_run().eval()
        twin.load_state_dict(net.state_dict())
        third = twin(image).mask_logits
    assert torch.equal(first, second)
    assert torch.equal(first, third)
    assert [id(module) for module in net.modules()] == modules


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_an_image_does_not_depend_on_its_batch_mates(make_run, unfold_stride):
    """Flaw 9. The filter has thresholds, so a rounding error may move single pixels."""
    net = make_run(unfold_stride=unfold_stride).eval()
    images = torch.rand(3, 3, *ODD)
    with torch.no_grad():
        together, alone = net(images).mask, torch.cat([net(image[None]).mask for image in images])
    close = ((together - alone).abs() < 1e-5).float().mean()
    assert close >= 0.999


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (352, 352), ODD])
@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_shapes_and_ranges_at_any_size(make_run, size, unfold_stride):
    """Flaw 10: the released network crashes at 352×352."""
    net = make_run(unfold_stride=unfold_stride).eval()
    with torch.no_grad():
        output = net(torch.rand(1, 3, *size))
    small = tuple(-(-side // unfold_stride) for side in size)
    assert output.mask_logits.shape == (1, 1, *size)
    assert output.coarse_logits.shape == (1, 1, *small)
    for stage in output.stages:
        for value, channels in zip(stage, (1, 1, 1, 1, 3, 3, 1), strict=True):
            assert value.shape == (1, channels, *small)
        for value in (stage.mask_hat, stage.mask, stage.background):
            assert value.min() >= 0
            assert value.max() <= 1


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_an_odd_image_gives_the_maps_of_the_padded_one(make_run, unfold_stride):
    """Flaw 10: odd sizes are tested by result. Replicated rows and columns may only change the maps near them."""
    net = make_run(unfold_stride=unfold_stride, state_space={"scan": False}).eval()
    image = pad_to_multiple(torch.rand(1, 3, 257, 291), 32)
    with torch.no_grad():
        padded, odd = net.context(net.encoder(image)), net.context(net.encoder(image[..., :257, :291]))
        for stride, feature in odd.items():
            rows, columns = (side // 2 // stride for side in (257, 291))
            torch.testing.assert_close(
                padded[stride][..., :rows, :columns], feature[..., :rows, :columns], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("unfold_stride", [1, 4])
def test_maps_lie_where_the_image_says(make_run, unfold_stride):
    """An object at token (i, j) of every level is at pixels (i·s, j·s): pooling and upsampling do not move it."""
    net = make_run(unfold_stride=unfold_stride)
    image = torch.zeros(1, 3, *ODD)
    blob = _blob((40, 60))
    small = pool(blob, unfold_stride)
    for level in (4, 8, 16):
        logits = pool(small, level // unfold_stride)
        mask = upsample(net._to_unfolding(logits, level, pool(image, unfold_stride)), unfold_stride, ODD)
        weights = mask / mask.sum()
        centre = [
            (weights * axis).sum().item() for axis in torch.meshgrid(*(torch.arange(n) for n in ODD), indexing="ij")
        ]
        assert centre == pytest.approx([40, 60], abs=0.8)


@pytest.mark.parametrize("unfold_stride", [1, 4])
@pytest.mark.parametrize("off", [None, "residual", "mask_step", "background_evidence", "robe", "edge_head", "coupling"])
def test_a_forward_is_the_composition_of_the_published_steps(make_run, unfold_stride, off):
    """Every field of every stage, recomputed from the network's own modules with the equations of method.md 3."""
    switches = OFF[off] if off else {}
    settings = {"mask_step": {"residual": "stages" if unfold_stride == 1 else True}, "closing_step": True} | switches
    net = make_run(num_stages=2, levels=[8, 4], unfold_stride=unfold_stride, share_stages="none", **settings).eval()
    image = torch.rand(2, 3, *ODD)
    with torch.no_grad():
        for parameter in net.unfolding_parameters():
            parameter.add_(0.5 * torch.rand(()))  # stages differ
        output, features = net(image), net.context(net.encoder(image))
        small = pool(image, unfold_stride)
        size = tuple(small.shape[-2:])
        mask = mask_prev = upsample(net.start(features[32]), 32 // unfold_stride, size).sigmoid()
        background = (1 - mask) * small

        def stepped(k: int) -> tuple[torch.Tensor, torch.Tensor]:
            if off in ("mask_step", "coupling"):
                return mask, torch.zeros_like(mask)
            step = net.mask_steps[min(k, 1)]
            if off == "residual" or (k == 2 and unfold_stride == 1):
                return mask_step(small, background, mask, mask_prev, 0.0, step.mu(), 0.0), torch.zeros_like(mask)
            weight, tilde = residual_filter(mask_prev)
            residual = weight * (mask - tilde)
            grad = step.scale * step.gradient(residual)
            return mask_step(small, background, mask, mask_prev, grad, step.mu(), step.alpha()), residual

        for k, (level, stage) in enumerate(zip((8, 4), output.stages, strict=True)):
            mask_hat, residual = stepped(k)
            reverse = 1 - mask if off == "background_evidence" else reversed_mask(small, background, mask)
            factor = level // unfold_stride
            space, feature = net.state_spaces[k], features[level]
            foreground, behind = (
                feature * (1 + pool(x, factor)) if off != "coupling" else feature for x in (mask_hat, reverse)
            )
            evidence = space.small(foreground) + space.large(behind)
            logits = upsample(space.mask_head(evidence), factor, size)
            mask_prev, mask = mask, logits.sigmoid()
            reconstruction = None
            if off in ("robe", "coupling"):
                background = (1 - mask) * small
            else:
                robe = net.robes[k]
                estimate = background_step(small, mask, background, robe.lam())
                background = (estimate + robe.network(mask, estimate, small)).clamp(0, 1)
                reconstruction = small * mask + background
            edge = None if off == "edge_head" else upsample(space.edge_head(evidence), factor, size)
            expected = (mask_hat, logits, mask, edge, background, reconstruction, residual)
            for name, got, want in zip(stage._fields, stage, expected, strict=True):
                assert (got is None) == (want is None), name
                if want is not None:
                    torch.testing.assert_close(
                        got, want, atol=2e-5, rtol=1e-4, msg=lambda text, at=(k, name): f"{at}: {text}"
                    )
        assert (output.closing is None) == (off in ("mask_step", "coupling"))
        if output.closing is not None:
            closing, _ = stepped(2)
            torch.testing.assert_close(output.closing, closing, atol=2e-5, rtol=1e-4)
            final = upsample(torch.logit(closing.clamp(0.001, 0.999)), unfold_stride, ODD)
            torch.testing.assert_close(output.mask, final.sigmoid(), atol=2e-5, rtol=1e-4)
        else:
            torch.testing.assert_close(output.mask_logits, upsample(logits, unfold_stride, ODD), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_a_closing_step_adds_nothing_that_an_older_checkpoint_lacks(make_run):
    """It has no parameters of its own, so a network trained without it can take it; without one the mask is M_K."""
    old, new = make_run(unfold_stride=4).eval(), make_run(unfold_stride=4, closing_step=True).eval()
    new.load_state_dict(old.state_dict())
    image = torch.rand(2, 3, *ODD)
    with torch.no_grad():
        before, after = old(image), new(image)
    assert before.closing is None
    assert torch.equal(before.mask_logits, upsample(before.stages[-1].mask_logits, 4, ODD))
    assert torch.equal(before.stages[-1].mask, after.stages[-1].mask)
    assert not torch.allclose(before.mask_logits, after.mask_logits)
    assert list(stage_logits(before)) == ["M_0", "M_1", "M_2", "M_3", "M_4"]
    assert list(stage_logits(after)) == [*stage_logits(before), "M̂_5"]
    assert torch.equal(stage_logits(after)["M_4"], before.mask_logits)
    assert torch.equal(stage_logits(after)["M̂_5"], after.mask_logits)
    with torch.no_grad():
        output = make_run(closing_step=True).eval()(image)
    assert (output.mask - output.closing).abs().max() < 1 / 510  # at full resolution it is the map itself, in 8 bits
    assert new.train()(image).closing is None  # no loss asks for it


PARTS = {
    "residual": ("alpha", "scale", "gradient"),
    "mask_step": ("mask_steps",),
    "robe": ("robes",),
    "edge_head": ("edge_head",),
    "scan": ("A_log", "x_proj"),
}


@pytest.mark.parametrize("part", [*PARTS, "background_evidence"])
def test_what_is_off_creates_no_parameters_and_the_rest_still_learns(make_run, part):
    net = make_run(unfold_stride=4, **OFF[part])
    _wake_batchnorm(net)
    names = [name for name, _ in net.named_parameters()]
    assert not [name for name in names for word in PARTS.get(part, ()) if word in name.split(".")]
    image, target = torch.rand(2, 3, *ODD), torch.cat([_blob((40, 60)), _blob((60, 40))])
    terms = StagewiseLoss()(net(image), image, target)
    terms["loss"].backward()
    assert _without_gradient(net) == []
    assert ("reconstruction" in terms) == (part != "robe")
    assert ("edge" in terms) == (part != "edge_head")


def test_switches_mean_what_the_issue_says(make_run):
    image = torch.rand(2, 3, *ODD)
    with torch.no_grad():
        off = make_run(mask_step=None)(image)
        assert torch.equal(off.stages[1].mask_hat, off.stages[0].mask)
        assert not off.stages[1].residual.any()
        off = make_run(robe=None)(image)
        torch.testing.assert_close(off.stages[0].background, (1 - off.stages[0].mask) * image)
        assert off.stages[0].reconstruction is None


def test_twin_without_coupling_has_no_unfolding(make_run):
    twin, run = make_run(coupling=False, unfold_stride=4), make_run(unfold_stride=4)
    only_in_run = {name.split(".")[0] for name, _ in run.named_parameters()} - {
        name.split(".")[0] for name, _ in twin.named_parameters()
    }
    assert only_in_run == {"mask_steps", "robes"}
    assert list(twin.unfolding_parameters()) == []
    output = twin(torch.rand(2, 3, 64, 64))
    assert output.stages[0].reconstruction is None
    grad = torch.autograd.grad(output.mask_logits.mean(), output.stages[0].mask, allow_unused=True)[0]
    assert grad is None or not grad.any()


@pytest.mark.parametrize(("share", "mask_steps", "spaces"), [("unfolding", 1, 4), ("all", 1, 1), ("none", 4, 4)])
def test_sharing(make_run, share, mask_steps, spaces):
    net = make_run(share_stages=share, state_space={"gamma": 0.0})
    assert (len(net.mask_steps), len(net.robes), len(net.state_spaces), len(net.gammas)) == (
        mask_steps,
        mask_steps,
        spaces,
        4,
    )
    assert net(torch.rand(2, 3, 64, 64)).mask_logits.isfinite().all()


def test_another_start_takes_the_place_of_m_0(make_run):
    net, image, start = make_run(unfold_stride=4).eval(), torch.rand(1, 3, *ODD), _blob((40, 60))
    with torch.no_grad():
        output, own = net(image, start), net(image)
    torch.testing.assert_close(output.stage_logits[0].sigmoid(), pool(start, 4).clamp(0.01, 0.99))
    assert output.stage_logits[0].shape == own.stage_logits[0].shape
    assert not torch.equal(output.mask_logits, own.mask_logits)
    with torch.no_grad():
        again = net(image, upsample(own.coarse_logits, 4, ODD).sigmoid())
    # Up and down again loses a little.
    torch.testing.assert_close(again.mask_logits, own.mask_logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("stages", [1, 2, 3, 5])
def test_number_of_stages_and_default_levels(make_run, stages):
    net = make_run(num_stages=stages, unfold_stride=4)
    assert len(net(torch.rand(2, 3, 64, 64)).stages) == stages
    assert net.levels == {1: (4,), 2: (16, 4), 3: (16, 8, 4), 5: (32, 16, 8, 4, 4)}[stages]
    unused = {"4", "8", "16"} - {str(level) for level in net.levels}
    assert not unused & set(net.context.smooth)


def test_initial_values_of_the_unfolding(make_run):
    net = make_run(robe={"lam": 0.3, "widths": WIDE_U})
    step, robe = net.mask_steps[0], net.robes[0]
    values = [step.mu().item(), step.alpha().item(), step.scale.item(), robe.lam().item()]
    assert values == pytest.approx([0.01, 0.01, 0.1, 0.3], rel=1e-5)
    assert robe.network.head.weight.std().item() == pytest.approx(1e-3, rel=0.3)
    assert net.start.head.bias.item() == -1.5
    with torch.no_grad():
        for parameter in net.unfolding_parameters():
            parameter.fill_(-50.0)
    assert min(step.mu(), step.alpha(), robe.lam()) > 0


def test_gradient_checkpointing_changes_nothing_but_memory(make_run):
    plain, saving = make_run(unfold_stride=4), make_run(unfold_stride=4, gradient_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    image = torch.rand(2, 3, *ODD)
    for net in (plain, saving):
        net(image).mask_logits.square().mean().backward()
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        if p.grad is not None:
            torch.testing.assert_close(p.grad, q.grad, msg=lambda text, name=name: f"{name}: {text}")
    for (name, p), q in zip(plain.named_buffers(), saving.buffers(), strict=True):
        assert torch.equal(p, q), name
    stage = saving(image).stages[0]
    assert stage.mask.requires_grad


def test_output_of_a_network_without_stages():
    output = FPN(PyramidEncoder("tf_efficientnet_lite0", None), channels=16)(torch.rand(2, 3, *ODD))
    assert not isinstance(output, RUNOutput)
    assert output.mask_logits.shape == (2, 1, *ODD)
    assert torch.equal(output.mask, output.mask_logits.sigmoid())


def test_all_impossible_settings_in_one_error(make_run):
    own = {"channels": 0, "unfold_stride": 3, "share_stages": "some", "levels": [7]}
    parts = {
        "mask_step": {"mu": 0.0, "residual_width": 0, "uncertain_band": "two", "softness": 0.5, "lipschitz": -1.0},
        "state_space": {"branches": "none"},
        "robe": {"lam": 0.001, "widths": (16, 32)},
    }
    with pytest.raises(UserError) as error:
        make_run("lcnet_050", **own, **parts)
    expected = [*own, *(f"{part}.{name}" for part, settings in parts.items() for name in settings)]
    assert sorted(problem.split(":")[0] for problem in error.value.problems) == sorted(
        f"model.net.{name}" for name in expected
    )
    with pytest.raises(UserError, match=r"model\.net\.num_stages"):
        RUN(PyramidEncoder("resnet18", None), num_stages=0)


@pytest.mark.slow
def test_run_alone_is_model_run():
    """The same tensors, by seed the same bits, and the same settings."""
    with initialize_config_dir(CONF, version_base="1.3"):
        node = compose("train", ["encoder.name=lcnet_050", "encoder.weights=null", "paths.output_dir=out"]).model.net
    torch.manual_seed(0)
    configured = instantiate(node)
    torch.manual_seed(0)
    plain = RUN(PyramidEncoder("lcnet_050", None))
    assert list(plain.state_dict()) == list(configured.state_dict())
    assert all(torch.equal(value, configured.state_dict()[name]) for name, value in plain.state_dict().items())
    for target, settings in (
        (RUN, node),
        (MaskStep, node.mask_step),
        (ReversibleStateSpace, node.state_space),
        (ROBE, node.robe),
    ):
        defaults = {name: one.default for name, one in inspect.signature(target).parameters.items() if name in settings}
        for name, value in settings.items():
            if not name.startswith("_") and not OmegaConf.is_dict(value):
                assert value == (list(defaults[name]) if OmegaConf.is_list(value) else defaults[name]), name


def test_run_has_at_most_15_parameters():
    assert len(inspect.signature(RUN).parameters) <= 15


def test_trying_the_parts_draws_no_random_number():
    encoder = PyramidEncoder("lcnet_050", None)
    before = torch.get_rng_state()
    with pytest.raises(UserError):
        RUN(encoder, unfold_stride=2)
    assert torch.equal(torch.get_rng_state(), before)


def _bytes_kept(net: RUN, image: torch.Tensor) -> int:
    return kept_bytes(net, lambda: net(image).mask_logits)


@pytest.mark.slow
def test_gradient_checkpointing_keeps_at_least_20_percent_less(make_run):
    """K = 4. A stage is computed anew in the backward pass, one at a time: what the largest one keeps comes on top."""
    image, wide = torch.rand(2, 3, 96, 96), {"widths": WIDE_U}
    plain, saving, one = (
        _bytes_kept(make_run(robe=wide, **options), image)
        for options in ({}, {"gradient_checkpointing": True}, {"num_stages": 1, "levels": [4]})
    )
    encoder_alone = _bytes_kept(make_run(robe=wide, num_stages=1, levels=[4], gradient_checkpointing=True), image)
    assert saving + (one - encoder_alone) <= 0.8 * plain
