"""The authors' files: recognised, read strictly where it matters, and accepted wherever a checkpoint is."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from timm.models.pvt_v2 import checkpoint_filter_fn
from torch import Tensor

from scripts.export_weights import export_weights
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.checkpoints.released import (
    FEDER_VARIANT,
    VARIANTS,
    bare_state,
    load_feder,
    load_released,
    recognised,
    released_checkpoint,
    released_network,
)
from src.eval import evaluate
from src.models.encoder import PyramidEncoder
from src.models.released.network import ReleasedRUN
from src.predict import predict
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.folders import write_set
from tests.fixtures.released import NARROW, SHARED, fill, meta_state, zero_state
from tests.fixtures.tiny import ONE_BATCH_OVERRIDES, SCENE_OVERRIDES, TINY_OVERRIDES, config
from tests.fixtures.warm_python import run

PATH = Path("Net_epoch_best.pth")


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """The tensors of a narrow RUN/ResNet50 with random values, by the file's names."""
    generator = torch.Generator().manual_seed(0)
    values = {name: 0.05 * torch.randn(tensor.shape, generator=generator) for name, tensor in zero_state().items()}
    values |= {name: torch.ones_like(value) for name, value in values.items() if name.endswith("running_var")}
    return {
        name: torch.zeros((), dtype=torch.int64) if name.endswith("num_batches_tracked") else t
        for name, t in values.items()
    }


def weights(content: Any) -> dict[str, Tensor]:
    return dict(released_network(content, PATH)[0].state_dict())


@pytest.fixture(scope="module")
def path(state, tmp_path_factory) -> Path:
    """The file as a training on several GPUs with a FLOP counter would have written it."""
    path = tmp_path_factory.mktemp("released") / PATH
    counters = {"module.total_ops": torch.zeros(1), "module.shared_encoder.conv1.total_params": torch.zeros(1)}
    torch.save({f"module.{name}": tensor for name, tensor in state.items()} | counters, path)
    return path


def test_every_tensor_of_the_file_is_where_it_belongs(state, path):
    own = load_released(path).state_dict()
    assert len(own) == 861
    assert torch.equal(
        own["encoder.backbone.layer4.2.bn3.running_var"], state["shared_encoder.layer4.2.bn3.running_var"]
    )
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
    fill()  # skips the test if the names of the authors' class are missing
    dead = json.loads((SHARED / "released_state_dict.json").read_text()).keys() - state.keys()
    assert len(dead) == 775
    own = weights(state | {name: torch.full((1,), torch.nan) for name in dead})
    assert all(torch.equal(own[name], tensor) for name, tensor in weights(state).items())


def test_only_batch_counters_may_be_missing(state):
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(state) - len(without) == 129
    assert len(weights(without)) == 861
    wrong = {
        name: tensor for name, tensor in state.items() if name not in ("conv3_fea.bias", "shared_encoder.conv1.weight")
    }
    wrong["GPM.head.1.gamma"] = torch.zeros(2)
    with pytest.raises(UserError, match=r"checkpoint of RUN/ResNet50, but 3 tensors do not fit") as error:
        weights(wrong)
    for words in (
        "shared_encoder.conv1.weight is missing",
        "conv3_fea.bias is missing",
        "GPM.head.1.gamma has shape (2,), expected (1,)",
    ):
        assert words in str(error.value)


def test_half_and_double_precision_become_single(state):
    for dtype in (torch.float16, torch.float64):
        cast = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in state.items()}
        own = weights(cast)["merge.bias"]
        assert own.dtype == torch.float32
        torch.testing.assert_close(own, state["conv3_fea.bias"], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "count"), [(VARIANTS[0], 861), (VARIANTS[1], 1375), (VARIANTS[2], 1065)])
def test_each_variant_is_recognised_with_its_encoder_and_width(variant, count):
    net, found = released_network(zero_state(32, variant) | {f"{variant.prefix}.fc.weight": torch.zeros(1)}, PATH)
    assert found == variant
    assert (len(net.state_dict()), net.encoder.name, net.merge.out_channels) == (count, variant.encoder, 32)


@pytest.mark.slow
def test_feder_is_no_run_and_the_reverse(path, tmp_path):
    content = zero_state(NARROW, FEDER_VARIANT)
    assert recognised(content, PATH) == FEDER_VARIANT
    torch.save(content, tmp_path / "feder.pth")
    with pytest.raises(UserError, match=r"feder\.pth is a checkpoint of FEDER, not of RUN"):
        load_released(tmp_path / "feder.pth")
    with pytest.raises(UserError, match="is a checkpoint of RUN/ResNet50, not of FEDER"):
        load_feder(path)
    assert load_feder(tmp_path / "feder.pth").channels == NARROW
    fill()  # skips the test if the names of the authors' class are missing
    names = json.loads((SHARED / "feder_state_dict.json").read_text()).keys()
    assert content.keys() <= names
    assert {name for name in names - content.keys() if not name.startswith(("GCM3.AGFG_LH.", "GCM3.AGFG_HL."))} == {
        name
        for name in names
        if ".TFD." in name or ".out_B." in name or re.match(r"GCM3\.AGFG_HH\..*(mean|std)_conv", name)
    }


def test_a_file_without_configuration_gets_that_of_the_authors_test(state):
    wrapped = {"state_dict": state, "config": {"lr": 1e-4}}  # somebody else's configuration
    config = released_checkpoint(wrapped, PATH)["config"]
    assert config["encoder"]["name"] == "resnet50"
    assert config["model"]["net"]["channels"] == NARROW
    assert (config["data"]["image_size"], config["data"]["test_sets"]) == (384, ["CHAMELEON", "CAMO", "COD10K", "NC4K"])
    assert config["released"] == "RUN/ResNet50"


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
        (
            ["conv1.weight", "layer1.0.conv1.weight", "fc.weight"],
            r"plain image backbone.*encoder\.weights=Net_epoch_best\.pth",
        ),
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
    torch.save({"state_dict": {}, "config": {"model": {}, "data": {}}}, ours)
    for broken in (cut, objects):
        with pytest.raises(UserError, match=rf"{broken.name} cannot be read as a checkpoint"):
            load_released(broken)
    with pytest.raises(UserError, match=r"ours\.pth was written by src\.train"):
        load_released(ours)


@pytest.mark.slow
def test_it_is_rebuilt_like_a_checkpoint_of_ours(path):
    module = rebuild(read_checkpoint(path), path).eval()
    assert isinstance(module.net, ReleasedRUN)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            module(image).mask_logits, load_released(path)(image).mask_logits, rtol=1e-4, atol=1e-5
        )


@pytest.fixture(scope="module")
def exported(path) -> Path:
    return export_weights(config("export_weights", f"ckpt_path={path}", f"out={path.parent / 'run.safetensors'}"))


def test_an_export_keeps_every_bit(path, exported):
    kept, own = read_checkpoint(exported), read_checkpoint(path)
    assert all(kept["state_dict"][name].equal(tensor) for name, tensor in own["state_dict"].items())
    assert kept["config"]["released"] == "RUN/ResNet50"


def test_commands_take_the_file(path, exported, tmp_path):
    """The file, its export and the test give the same map, and the report of the test says whose weights they are."""
    write_set(tmp_path / "TestDataset" / "CAMO", ["a"])
    for name, file in {"file": path, "exported": exported}.items():
        source = f"input={tmp_path / 'TestDataset' / 'CAMO' / 'Imgs'}"
        stages = f"stages={str(name == 'file').lower()}"
        predict(
            config("predict", f"ckpt_path={file}", source, f"output={tmp_path / name}", "data.image_size=64", stages)
        )
    out = tmp_path / "eval"
    overrides = [
        f"data.root={tmp_path}",
        "data.test_sets=[CAMO]",
        "data.image_size=64",
        "data.num_workers=0",
        f"paths.output_dir={out}",
    ]
    scores = evaluate(config("eval", "trainer=cpu", f"ckpt_path={path}", "metrics.protocol=released", *overrides))
    assert 0 < scores["test/CAMO/mae"] < 1
    from_file, from_export, tested = (
        np.asarray(Image.open(tmp_path / name / "a.png")) for name in ("file", "exported", "eval/maps/CAMO")
    )
    assert np.array_equal(from_file, from_export)
    assert (tested.min(), tested.max()) == (0, 255)
    assert (tmp_path / "file" / "stages" / "a.png").stat().st_size > 1000
    text = (out / "metrics.md").read_text(encoding="utf-8")
    for words in ("ReleasedRUN (resnet50)", "Protocol released: maps stretched", "data.exif=false"):
        assert words in text
    assert "Net_epoch_best.pth, as the authors of RUN published it (RUN/ResNet50)" in text
    assert (out / "gallery_CAMO.png").stat().st_size > 1000
    rows = {
        row["map"]
        for row in csv.DictReader((out / "metrics.csv").open(encoding="utf-8"))
        if row["numbers"] == "measured"
    }
    assert rows == {"M_0", "M_1", "M_2", "M_3", "M_4"}


@pytest.mark.slow
def test_the_command_line_takes_the_file(path, tmp_path):
    """Its configuration is composed while Hydra runs the command."""
    write_set(tmp_path / "TestDataset" / "CAMO", ["a"])
    pictures = tmp_path / "TestDataset" / "CAMO" / "Imgs"
    done = run(
        "src.predict",
        f"ckpt_path={path}",
        f"input={pictures}",
        f"output={tmp_path / 'maps'}",
        "data.image_size=64",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "maps" / "a.png").is_file()


@pytest.mark.slow
def test_it_can_be_trained_from_scratch_but_not_resumed_from_weights(path, tmp_path):
    options = [
        "experiment=quickstart",
        "model=released",
        "encoder=pvt_v2_b0",
        "model.net.channels=16",
        *TINY_OVERRIDES,
        *SCENE_OVERRIDES,
    ]
    options += [*ONE_BATCH_OVERRIDES, f"paths.output_dir={tmp_path / 'run'}"]
    scores = train(
        config(
            "train",
            "callbacks=[default,panel]",
            "callbacks.panel.every_n_epochs=1",
            "callbacks.panel.images=1",
            *options,
        )
    )
    assert scores["train/structure"] > 0
    assert scores["test/synthetic/mae"] > 0
    assert (tmp_path / "run" / "panels" / "epoch_000.png").stat().st_size > 1000
    with pytest.raises(UserError, match="holds weights alone"):
        train(
            config(
                "train", *options, "encoder=resnet50", f"ckpt_path={path}", f"paths.output_dir={tmp_path / 'resumed'}"
            )
        )


def test_a_batch_of_one_is_refused_in_training():
    net = ReleasedRUN(PyramidEncoder("lcnet_050", None), NARROW)
    with pytest.raises(UserError, match="two images or more at a time"):
        net(torch.rand(1, 3, 64, 64))
