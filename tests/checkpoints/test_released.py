"""The authors' files: told apart, read strictly where it matters, and used wherever a checkpoint is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from timm.models.pvt_v2 import checkpoint_filter_fn
from torch import Tensor

from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.checkpoints.released import VARIANTS, bare_state, load_released, recognised, released_checkpoint
from src.models.encoder import PyramidEncoder
from src.models.released.network import ReleasedRUN
from src.utils.errors import UserError
from tests.fixtures.released import NARROW, SHARED, fill, filled_state, meta_state, zero_state

PATH = Path("Net_epoch_best.pth")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The tensors of a narrow RUN/ResNet50 with random values, by the file's names."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(tensor.shape, generator=generator) * 0.05 if tensor.is_floating_point() else tensor.clone()
        for name, tensor in zero_state().items()
    }


@pytest.fixture(scope="module")
def path(state, tmp_path_factory) -> Path:
    """As a training on several GPUs with a FLOP counter would have written it."""
    path = tmp_path_factory.mktemp("released") / PATH
    counters = {"module.total_ops": torch.zeros(1), "module.shared_encoder.conv1.total_params": torch.zeros(1)}
    torch.save({f"module.{name}": tensor for name, tensor in state.items()} | counters, path)
    return path


def test_every_tensor_of_the_file_is_where_it_belongs(state, path):
    own = load_released(path).state_dict()
    assert len(own) == 861
    assert torch.equal(own["encoder.backbone.layer4.2.bn3.running_var"], state["shared_encoder.layer4.2.bn3.running_var"])
    assert torch.equal(own["refine.3.ode.getalpha.fc1.weight"], state["REM11.REU_f4.ode.getalpha.fc1.weight"])
    assert torch.equal(own["texture.0.branch2.1.conv.weight"], state["GCM3.T1.branch2.1.conv.weight"])
    assert {tensor.dtype for tensor in own.values()} == {torch.float32, torch.int64}


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net", "model_state_dict"])
def test_wrappers_prefixes_and_counters_come_off(state, wrapper):
    content = {"epoch": 3, wrapper: {f"module.module.{name}": tensor for name, tensor in state.items()}}
    assert bare_state(content).keys() == state.keys()
    assert bare_state({"module.pipeline.sparse_module.w": torch.zeros(1)}).keys() == {"pipeline.sparse_module.w"}
    assert bare_state({"IAF.conv1.total_ops": torch.zeros(1), "total_params": torch.zeros(1)}) == {}


def test_dead_tensors_are_never_read(state):
    fill()  # skips where the names of the authors' class are not here
    dead = json.loads((SHARED / "released_state_dict.json").read_text()).keys() - state.keys()
    assert len(dead) == 775
    broken = state | {name: torch.full((1,), torch.nan) for name in dead}
    own = released_checkpoint(broken, PATH)["state_dict"]
    assert all(torch.equal(own[name], tensor) for name, tensor in released_checkpoint(state, PATH)["state_dict"].items())


def test_only_batch_counters_may_be_missing(state):
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(state) - len(without) == 129
    assert len(released_checkpoint(without, PATH)["state_dict"]) == 861
    wrong = {name: tensor for name, tensor in state.items() if name not in ("conv3_fea.bias", "shared_encoder.conv1.weight")}
    wrong["GPM.head.1.gamma"] = torch.zeros(2)
    with pytest.raises(UserError, match=r"checkpoint of RUN/ResNet50, but 3 tensors do not fit") as error:
        released_checkpoint(wrong, PATH)
    for words in ("shared_encoder.conv1.weight is missing", "conv3_fea.bias is missing", "GPM.head.1.gamma has shape (2,), expected (1,)"):
        assert words in str(error.value)


def test_half_and_double_precision_become_single(state):
    for dtype in (torch.float16, torch.float64):
        cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        own = released_checkpoint(cast, PATH)["state_dict"]
        assert own["net.merge.bias"].dtype == torch.float32
        torch.testing.assert_close(own["net.merge.bias"], state["conv3_fea.bias"], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("variant", "count"), list(zip(VARIANTS, (861, 1375, 1065), strict=True)), ids=lambda value: str(value))
def test_each_variant_is_recognised_with_its_encoder(variant, count):
    content = zero_state(32, variant) | {f"{variant.prefix}.fc.weight": torch.zeros(1)}
    found = released_checkpoint(content, PATH)
    assert len(found["state_dict"]) == count
    config = found["config"]
    assert config["encoder"]["name"] == variant.encoder
    assert config["model"]["net"]["channels"] == 32
    assert config["data"]["image_size"] == 384
    assert config["released"] == variant.name


def test_pvt_names_are_the_inverse_of_timms_own_renaming():
    names = [name.removeprefix("encoder.") for name in meta_state(16, VARIANTS[1]) if name.startswith("encoder.")]
    renamed = checkpoint_filter_fn(dict.fromkeys(names), None).keys()
    with torch.device("meta"):
        backbone = PyramidEncoder("pvt_v2_b4", None).backbone
    assert {name.replace("stages.", "stages_") for name in renamed} == backbone.state_dict().keys()
    assert len(names) == 832


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["shared_encoder.conv1.weight", "GPM.branch0.conv.weight", "one_conv_f4_ll.weight"], "a checkpoint of FEDER"),
        (["conv1.weight", "layer1.0.conv1.weight", "fc.weight"], r"plain image backbone.*encoder\.weights=Net_epoch_best\.pth"),
        (["patch_embed1.proj.weight", "block1.0.norm1.weight"], "plain image backbone"),
        (["backbone.conv1.weight", "IAF.conv1.weight"], "encoder unknown here; its parts: IAF, backbone"),
        (["decoder.weight", "encoder.weight"], r"network unknown here \(2 tensors; parts: decoder, encoder\)"),
        ([], "holds no state dict"),
    ],
)
def test_other_files_are_told_what_they_are(names, words):
    with pytest.raises(UserError, match=words):
        recognised(dict.fromkeys(names, torch.zeros(1)), PATH)


def test_broken_files_and_our_own_are_told(path, tmp_path):
    cut, objects, ours = (tmp_path / name for name in ("cut.pth", "objects.pth", "ours.pth"))
    cut.write_bytes(path.read_bytes()[:-5000])
    torch.save(torch.nn.Linear(1, 1), objects)
    torch.save({"state_dict": {}, "config": {}}, ours)
    for broken in (cut, objects):
        with pytest.raises(UserError, match=rf"{broken.name} cannot be read as a checkpoint"):
            load_released(broken)
    with pytest.raises(UserError, match="has a `config`"):
        load_released(ours)


def test_it_is_rebuilt_like_a_checkpoint_of_ours(path):
    module = rebuild(read_checkpoint(path), path).eval()
    assert isinstance(module.net, ReleasedRUN)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(module(image).mask_logits, load_released(path)(image).mask_logits, atol=1e-5)


def test_the_values_are_those_of_the_fill():
    """One number of the authors' code that no copy of our network can know: the fill's own check sum holds."""
    weights = filled_state("A", NARROW)["shared_encoder.conv1.weight"]
    assert released_checkpoint(filled_state("A", NARROW), PATH)["state_dict"]["net.encoder.backbone.conv1.weight"].equal(weights)
