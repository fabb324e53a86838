"""Exported weights: half the bytes, the same predictions, read wherever a checkpoint is read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from scripts.export_weights import export_weights
from src.checkpoints.atomic_io import AtomicCheckpointIO
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.models.wrappers import network_name
from src.predict import predict
from src.report.network import _context
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT, TINY_OVERRIDES, config
from tests.fixtures.trained_run import write_untrained

NOTE = "research use, trained on CAMO"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """Random weights, as `src.train` would have stored them."""
    folder = tmp_path_factory.mktemp("run")
    cfg = config(
        "train",
        "experiment=camo_lite0",
        *TINY_OVERRIDES,
        "model.net.channels=16",
        f"data.root={folder}",
        f"paths.output_dir={folder}",
    )
    return write_untrained(cfg, folder / "best.ckpt")


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> Path:
    out = checkpoint.parent / "weights" / "run.safetensors"
    return export_weights(config("export_weights", f"ckpt_path={checkpoint}", f"out={out}"))


def test_predictions_survive_half_precision(checkpoint, exported):
    image = torch.rand(2, 3, 97, 131)
    with torch.no_grad():
        outputs = [rebuild(read_checkpoint(path), path).eval()(image) for path in (checkpoint, exported)]
    full, half = (output.stages[-1].mask for output in outputs)
    assert 0 < (full - half).abs().max() < 2e-3
    assert full.std() > 1e-3
    # Where M_K crosses a threshold of the filter F, the closing step jumps.
    assert (outputs[0].mask - outputs[1].mask).abs().mean() < 2e-4
    assert exported.stat().st_size < 0.52 * checkpoint.stat().st_size


def test_the_header_says_what_it_is_and_no_folder_of_the_trainer(checkpoint, exported):
    with safe_open(str(exported), "pt") as file:
        header = file.metadata()
        dtypes = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert header["note"] == NOTE
    assert json.loads(header["config"])["commit"] == "abc1234"
    assert str(checkpoint.parent) not in header["config"]
    assert dtypes == {torch.float16, torch.int64}


def test_predict_reads_them(exported, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)).save(
        tmp_path / "in" / "a.png"
    )
    (path,) = predict(
        config("predict", f"ckpt_path={exported}", f"input={tmp_path / 'in'}", f"output={tmp_path / 'out'}")
    ).written
    assert Image.open(path).size == (70, 50)


def test_a_training_does_not_go_on_from_them(exported, tmp_path):
    with pytest.raises(UserError, match="ckpt_path: "):
        train(
            config(
                "train",
                "experiment=camo_lite0",
                *TINY_OVERRIDES,
                f"ckpt_path={exported}",
                f"paths.output_dir={tmp_path}",
            )
        )


def test_broken_files_are_named(exported, tmp_path):
    cut, empty, foreign = (tmp_path / f"{name}.safetensors" for name in ("cut", "empty", "foreign"))
    cut.write_bytes(exported.read_bytes()[:-1000])
    empty.write_bytes(b"")
    save_file({"w": torch.ones(3)}, foreign)
    for path in (cut, empty):
        with pytest.raises(UserError, match=path.name):
            read_checkpoint(path)
    with pytest.raises(UserError, match="config"):
        read_checkpoint(foreign)


def test_an_export_names_all_mistakes_and_overwrites_nothing(checkpoint, exported, tmp_path):
    before = exported.read_bytes()
    with pytest.raises(UserError) as error:
        export_weights(config("export_weights", f"ckpt_path={tmp_path / 'none.ckpt'}", f"out={exported}"))
    assert "no file" in str(error.value)
    assert "exists; name another file" in str(error.value)
    assert exported.read_bytes() == before
    with pytest.raises(UserError, match=r"\.safetensors"):
        export_weights(config("export_weights", f"ckpt_path={checkpoint}", f"out={tmp_path / 'run.ckpt'}"))
    content = read_checkpoint(checkpoint)
    content["state_dict"]["net.start.head.bias"] = torch.tensor([1e6])
    AtomicCheckpointIO().save_checkpoint(content, tmp_path / "large.ckpt")
    with pytest.raises(UserError, match=r"net\.start\.head\.bias"):
        export_weights(
            config("export_weights", f"ckpt_path={tmp_path / 'large.ckpt'}", f"out={tmp_path / 'x.safetensors'}")
        )
    assert not (tmp_path / "x.safetensors").exists()


def test_the_weights_of_this_checkout_rebuild_and_are_called_what_they_are():
    path = ROOT / "docs" / "results" / "weights" / "run-camo-lite0.safetensors"
    module = rebuild(read_checkpoint(path), path)
    assert network_name(module.net) == "RUN"


def test_a_report_tells_no_selection_that_it_cannot_know(exported):
    data = {"image_size": 32, "test_images": {}, "notes": [], "selected_on": "held-out 10% of the training images"}
    assert "Checkpoint: run.safetensors." in _context(data, exported)
    assert "Checkpoint: best.ckpt, selected on: held-out 10% of the training images." in _context(
        data, Path("best.ckpt")
    )
