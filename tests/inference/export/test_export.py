"""Exported networks: they give the checkpoint's masks, and need nothing of this project to do so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from src.checkpoints.network import load_network
from src.export import export
from src.inference.export.job import REJECTED, export_network
from src.inference.export.settings import ExportSettings
from src.inference.export.trace import stage_maps, traced_graph
from src.inference.export.verify import made_up_picture
from src.inference.onnx_network import PROMPT
from src.inference.predictor import Predictor
from src.models.prompts import Prompt
from src.utils.errors import UserError
from tests.fixtures.exported import CHECKPOINT, ENCODER, EXPORTED, exporter, write_small_checkpoint
from tests.fixtures.once import made_once
from tests.fixtures.tiny import ROOT, config
from tests.fixtures.tiny_network import IMAGE_SIZE, tiny_config

PICTURE_SIZES = [(64, 64), (131, 77), (300, 40), (33, 500), (2000, 2000)]


@pytest.fixture(scope="session")
def open_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network without resizing, of any batch, height and width, with prompts."""
    return made_once(tmp_path_factory, "exported_open", exporter("pre_post=false", "prompts=true"))


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


@pytest.mark.slow
def test_tensors_of_any_size_and_number(open_file):
    net, _ = load_network(open_file / CHECKPOINT)
    session = _session(open_file / EXPORTED)
    for shape in ((1, 3, 64, 64), (2, 3, 32, 160), (3, 3, 96, 64)):
        image = torch.rand(shape)
        target, certainty, share = torch.rand((3, shape[0], 1, *shape[2:]))
        masks = []
        for prompt in (Prompt(target, certainty, share * certainty), Prompt.without_clicks(target, 0 * certainty)):
            with torch.no_grad():
                expected = net(image, prompt=prompt).mask.numpy()
            maps = {name: one.numpy() for name, one in zip(PROMPT, prompt, strict=True)}
            masks += session.run(["mask"], {"image": image.numpy(), **maps})
            assert expected.std() > 1e-3, "a constant mask would say nothing"
            np.testing.assert_allclose(masks[-1], expected, atol=1e-5)
        assert np.abs(masks[0] - masks[1]).max() > 0.1, "a prompt that changes nothing would say nothing"
        with torch.no_grad():
            np.testing.assert_array_equal(net(image).mask.numpy(), expected)
    with pytest.raises(UserError, match="export it again with pre_post=true"):
        Predictor(open_file / EXPORTED)


@pytest.mark.slow
def test_several_input_scales_at_any_size(tmp_path):
    """Sides are multiples of 64, so that half of one is a multiple of 32; the file is compared with its network."""
    encoder = ENCODER | {"scales": [0.5, 1.0, 1.5]}
    checkpoint = write_small_checkpoint(tmp_path / "scales.ckpt", "fpn.FPN", encoder=encoder)
    lines: list[str] = []
    export_network(ExportSettings(checkpoint, tmp_path / "scales.onnx", pre_post=False), lines.append)
    sizes = [line.split(":")[0] for line in lines]
    assert sizes == [f"float {shape}" for shape in ("1 × 3 × 64 × 64", "2 × 3 × 64 × 128", "1 × 3 × 192 × 128")]


@pytest.mark.slow
def test_openvino_says_the_same(open_file):
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(open_file / EXPORTED)
    used = {name for one in model.inputs for name in one.get_names()}  # not prompt_clicked: the stages do not hear it
    sizes = {"image": [1, 3, 64, 96]} | {name: [1, 1, 64, 96] for name in PROMPT}
    model.reshape({name: size for name, size in sizes.items() if name in used})
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    given = {name: torch.rand(size).numpy() for name, size in sizes.items()}
    (expected,) = _session(open_file / EXPORTED).run(["mask"], given)
    np.testing.assert_allclose(compiled({name: given[name] for name in used})["mask"], expected, atol=1e-3)


def test_pictures_of_any_size(exported):
    """Differences are at most one level of 255, because the two may round differently."""
    checkpoint, file = Predictor(exported / CHECKPOINT, device="cpu"), Predictor(exported / EXPORTED)
    for height, width in PICTURE_SIZES:
        picture = made_up_picture(height, width, seed=height)
        expected, got = checkpoint(picture).mask8, file(picture).mask8
        assert got.shape == (height, width)
        assert np.abs(got.astype(int) - expected).max() <= 1, (height, width)
    assert file(np.zeros((1, 1, 3), np.uint8)).mask8.shape == (1, 1)


@pytest.mark.slow
def test_prompts_are_heard_as_by_the_checkpoint(exported_prompts):
    """Use a box and clicks on pictures of any size; without prompts the mask is that of a file without these inputs."""
    checkpoint, file = Predictor(exported_prompts / CHECKPOINT, device="cpu"), Predictor(exported_prompts / EXPORTED)
    for height, width in PICTURE_SIZES[:3]:
        picture, box = made_up_picture(height, width, seed=height), (width / 4, height / 3, 0.8 * width, 0.9 * height)
        said = {"box": box, "clicks": [(0.1 * width, 0.1 * height, 1), (0.5 * width, 0.5 * height, -1)]}
        alone, prompted = file(picture).mask8.astype(int), file(picture, **said).mask8.astype(int)
        assert np.abs(alone - checkpoint(picture).mask8).max() <= 1
        assert np.abs(prompted - checkpoint(picture, **said).mask8).max() <= 1
        assert np.abs(prompted - alone).max() > 20


@pytest.mark.slow
def test_a_network_that_was_trained_with_prompts_hears_them_in_its_stages(exported_stage_prompts):
    checkpoint = Predictor(exported_stage_prompts / CHECKPOINT, device="cpu")
    file = Predictor(exported_stage_prompts / EXPORTED)
    picture, said = made_up_picture(77, 131, seed=1), {"box": (30, 20, 100, 60), "clicks": [(50, 30, 1), (80, 50, -1)]}
    alone, prompted = file(picture).mask8.astype(int), file(picture, **said).mask8.astype(int)
    assert np.abs(alone - checkpoint(picture).mask8).max() <= 1
    assert np.abs(prompted - checkpoint(picture, **said).mask8).max() <= 1
    assert np.abs(prompted - alone).max() > 20


def test_a_network_that_takes_no_prompts_says_so(tmp_path):
    without = write_small_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN")
    with pytest.raises(UserError, match="prompts=true: FPN takes no prompts; leave it out"):
        export_network(ExportSettings(without, tmp_path / "a.onnx", prompts=True))


def test_the_stages_are_those_of_the_network(exported):
    picture = made_up_picture(IMAGE_SIZE, IMAGE_SIZE, seed=0)
    session = _session(exported / EXPORTED)
    names = [one.name for one in session.get_outputs()]
    net, _ = load_network(exported / CHECKPOINT)
    with torch.no_grad():
        maps = stage_maps(net(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255))
    assert names == ["mask", *maps] == ["mask", "mask_0", "mask_1", "background_1", "edge_1", "residual_1"]
    for name, got in zip(names[1:], session.run(names[1:], {"picture": picture}), strict=True):
        expected = 255 * maps[name][0].permute(1, 2, 0).numpy()
        assert (got.dtype, got.shape[:2]) == (np.uint8, (IMAGE_SIZE, IMAGE_SIZE))
        assert np.abs(got.reshape(expected.shape) - expected).max() < 1


def test_the_file_says_where_it_comes_from(exported):
    model = onnx.load(exported / EXPORTED)
    metadata = {one.key: one.value for one in model.metadata_props}
    assert metadata.keys() == {"config", "note", "image_size", "pre_post"}
    assert (metadata["image_size"], metadata["pre_post"], metadata["note"]) == (
        "64",
        "true",
        "research use, trained on synthetic",
    )
    assert str(exported) not in str(metadata)
    assert {one.domain for one in model.opset_import} == {""}
    weights = {one.name.removesuffix("_half"): one for one in model.graph.initializer}
    net, _ = load_network(exported / CHECKPOINT)
    for name, value in net.encoder.backbone.named_parameters():  # float32, and no BatchNorm folded into them
        stored = weights[f"net.encoder.backbone.{name}"]
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(stored).astype(np.float32), value.detach().numpy())


def test_it_runs_elsewhere_with_the_six_lines_of_the_readme(exported, tmp_path):
    """An isolated Python in another folder, where nothing of this project can be imported."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (code,) = (block for block in blocks if "onnxruntime" in block)
    assert len([line for line in code.splitlines() if line]) == 6
    (tmp_path / "run.onnx").write_bytes((exported / EXPORTED).read_bytes())
    picture = made_up_picture(50, 70, seed=1)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    code = (
        code.replace("picture.jpg", "picture.png")
        + "import sys; print(sorted({'torch', 'src', 'cv2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")
    expected = Predictor(exported / CHECKPOINT, device="cpu")(picture).mask8
    assert np.abs(np.asarray(Image.open(tmp_path / "mask.png")).astype(int) - expected).max() <= 1


@pytest.mark.slow
def test_the_released_network(tmp_path):
    checkpoint = write_small_checkpoint(tmp_path / "released.ckpt", "released.network.ReleasedRUN", channels=16)
    done = export_network(ExportSettings(checkpoint, tmp_path / "released.onnx"), lambda line: None)
    assert len(done) == 6
    assert max(one.values.max() for one in done[:1]) < 1e-4


def test_mistakes_are_listed_before_any_work(tmp_path):
    (tmp_path / "there.onnx").touch()
    with pytest.raises(UserError) as error:
        export(config("export", f"ckpt_path={tmp_path / 'none.ckpt'}", f"out={tmp_path / 'there.onnx'}", "size=20"))
    for problem, words in zip(
        error.value.problems, ("no file or folder", "size=20: expected dynamic", "there.onnx exists"), strict=True
    ):
        assert words in problem
    with pytest.raises(UserError, match=r"must end in \.onnx"):
        export(config("export", f"ckpt_path={write_small_checkpoint(tmp_path / 'a.ckpt')}", f"out={tmp_path / 'a.pt'}"))
    with pytest.raises(UserError, match="is exported already"):
        export(config("export", f"ckpt_path={tmp_path / 'there.onnx'}", f"out={tmp_path / 'b.onnx'}"))


def test_what_cannot_be_exported_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.delattr("src.inference.export.job.make_network")
    feder = write_small_checkpoint(tmp_path / "feder.ckpt", "released.feder.FEDER")
    with pytest.raises(UserError, match="cannot be exported to ONNX: the guided filters of FEDER"):
        export_network(ExportSettings(feder, tmp_path / "a.onnx"))
    encoder = ENCODER | {"name": "swin_tiny_patch4_window7_224"}
    swin = tmp_path / "swin.ckpt"
    torch.save({"state_dict": {}, "config": tiny_config("fpn.FPN", encoder=encoder)}, swin)
    with pytest.raises(UserError, match=r"windows of swin_tiny.* give one size, size=N"):
        export_network(ExportSettings(swin, tmp_path / "a.onnx", pre_post=False))


def test_networks_without_stages_have_none_to_return(tmp_path):
    net, _ = load_network(write_small_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN"))
    with pytest.raises(UserError, match="stages=true: FPN has no stages; leave it out"):
        traced_graph(net, 64, batch=1, stages=True)
    assert [one.name for one in traced_graph(net, 64, batch=1, stages=None).graph.output] == ["logits"]


def test_a_network_that_cannot_be_exported_says_so(tmp_path, monkeypatch):
    net, _ = load_network(write_small_checkpoint(tmp_path / "fpn.ckpt", "fpn.FPN"))
    monkeypatch.setattr(net.context, "forward", lambda features: features if features[4].max() > 0 else {})
    with pytest.raises(UserError, match="FPN cannot be exported to ONNX: "):
        traced_graph(net, 64, batch=1)


def test_a_file_that_differs_is_kept_aside(exported, tmp_path, monkeypatch):
    """The exported graph is made wrong: some of its weights are changed."""
    wrong = onnx.load(exported / EXPORTED)
    for one in wrong.graph.initializer:
        if one.name.startswith("net.mask_steps"):
            one.raw_data = (onnx.numpy_helper.to_array(one) + 1).tobytes()
    out = tmp_path / "wrong.onnx"
    monkeypatch.setattr("src.inference.export.job.traced_graph", lambda *_: wrong)
    monkeypatch.setattr("src.inference.export.job.tidied", lambda graph: graph)
    for name in ("with_pictures", "with_probabilities"):
        monkeypatch.setattr(f"src.inference.export.job.{name}", lambda graph, *_: graph)
    monkeypatch.setattr("src.inference.export.job.compare_tensors", lambda *_: [])
    with pytest.raises(UserError, match=f"differs from its network; it is kept as .*{REJECTED}"):
        export_network(ExportSettings(exported / CHECKPOINT, out), lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["wrong.onnx.rejected"]
