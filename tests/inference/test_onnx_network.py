"""Exported files: read without torch, and refused in a sentence where they are not ours."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx.numpy_helper import from_array
from PIL import Image

from src.inference.predictor import Predictor
from src.utils.errors import UserError
from tests.fixtures.prompted_onnx import write_prompted_onnx
from tests.fixtures.red_onnx import METADATA, write_red_onnx
from tests.fixtures.tiny import ROOT

BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in (
            "torch", "torchvision", "timm", "numba", "lightning", "torchmetrics", "hydra", "albumentations"
        ):
            raise ImportError(name)
sys.meta_path.insert(0, Blocker())
from src.inference.predictor import Predictor
result = Predictor(sys.argv[1])(sys.argv[2])
print(result.mask8.shape, result.cutout().shape, len(result.to_json()["annotations"]))
"""


def test_an_exported_file_is_run(tmp_path, photograph):
    opened = Predictor(write_red_onnx(tmp_path / "red.onnx", METADATA))
    result = opened(photograph)
    np.testing.assert_array_equal(result.mask8, photograph[..., 0])
    np.testing.assert_allclose(result.mask, photograph[..., 0] / 255, atol=1e-6)
    assert (opened.network.note, opened.network.image_size) == ("research use", 64)
    assert opened.network.config == {"data": {"image_size": 64}}
    for one, rows in zip(opened.stream([photograph, photograph[:9], photograph[:1, :1]]), (50, 9, 1), strict=True):
        np.testing.assert_array_equal(one.mask8, photograph[:rows, : one.image.shape[1], 0])


def test_files_of_others_are_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("no network")
    for metadata, words in (
        ({}, "holds no `config` in its metadata"),
        (METADATA | {"config": "no JSON"}, "holds no `config`"),
        (METADATA | {"pre_post": "false"}, "export it again with pre_post=true"),
        ({key: value for key, value in METADATA.items() if key != "pre_post"}, "without pre_post"),
    ):
        with pytest.raises(UserError, match=words):
            Predictor(write_red_onnx(tmp_path / "foreign.onnx", metadata))
    with pytest.raises(UserError, match="cannot be read as ONNX"):
        Predictor(tmp_path / "text.onnx")


def test_what_was_settled_at_the_export_cannot_be_chosen(tmp_path):
    path = write_red_onnx(tmp_path / "red.onnx", METADATA)
    with pytest.raises(UserError, match=r"from the checkpoint.*: rounds=2, image_size=96"):
        Predictor(path, rounds=2, image_size=96)
    with pytest.raises(UserError, match=r"device=cuda:1: an \.onnx file runs on auto, cpu or cuda"):
        Predictor(path, device="cuda:1")


def test_prompts_go_into_the_file(tmp_path, photograph):
    """The hand-made network mixes the prompt with the red channel."""
    opened = Predictor(write_prompted_onnx(tmp_path / "prompted.onnx"))
    picture = np.tile(photograph, (2, 1, 1))[:64, :64]
    box, red = (0, 0, 32, 64), picture[..., 0]
    np.testing.assert_array_equal(opened(picture).mask8, red)
    halves = opened(picture, box=box, trust=1.0).mask8
    np.testing.assert_array_equal(halves[:, :32], red[:, :32])
    assert not halves[:, 32:].any()
    clicked = opened(picture, clicks=[(10.5, 20.5, +1)], trust=1.0).mask8
    assert clicked[20, 10] == 255
    np.testing.assert_array_equal(clicked[40:], red[40:])
    with pytest.raises(UserError, match=r"an \.onnx file also must be exported with prompts=true"):
        Predictor(write_red_onnx(tmp_path / "red.onnx", METADATA))(photograph, box=(0, 0, 9, 9))


def test_a_file_that_knows_no_clicks_is_refused_if_they_matter(tmp_path):
    model = onnx.load(write_prompted_onnx(tmp_path / "earlier.onnx"))
    (clicked,) = (one for one in model.graph.input if one.name == "prompt_clicked")
    model.graph.input.remove(clicked)
    model.graph.initializer.append(from_array(np.zeros((1, 1, 64, 64), np.float32), "prompt_clicked"))
    onnx.save(model, tmp_path / "earlier.onnx")
    picture = np.full((64, 64, 3), 99, np.uint8)
    assert Predictor(tmp_path / "earlier.onnx")(picture, clicks=[(10.5, 20.5, +1)], trust=1.0).mask8[20, 10] == 255
    config = {"data": {"image_size": 64}, "model": {"net": {"prompts": {"_target_": "src.models.prompts.PromptTerm"}}}}
    model = onnx.load(tmp_path / "earlier.onnx")
    helper.set_model_props(model, METADATA | {"config": json.dumps(config)})
    onnx.save(model, tmp_path / "earlier.onnx")
    with pytest.raises(UserError, match=r"earlier\.onnx has no input prompt_clicked: .*; export it again"):
        Predictor(tmp_path / "earlier.onnx")


@pytest.mark.slow
def test_it_needs_no_torch(tmp_path, photograph):
    path = write_red_onnx(tmp_path / "red.onnx", METADATA)
    Image.fromarray(photograph).save(tmp_path / "moth.png")
    command = [sys.executable, "-c", BLOCKED, str(path), str(tmp_path / "moth.png")]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "(50, 70) (50, 70, 4) 1\n"), done.stderr
