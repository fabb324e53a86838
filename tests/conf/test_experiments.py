"""Every shipped experiment runs, and its optimiser sees the same number of images per step on any number of devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from src.cli.command import CONF
from src.distributed.devices import accumulation
from src.train import train
from src.utils.errors import UserError
from tests.fixtures.folders import write_tasks
from tests.fixtures.tiny import TINY_OVERRIDES, config

EXPERIMENTS = sorted(path.stem for path in (Path(CONF) / "experiment").glob("*.yaml"))
TINY = [*TINY_OVERRIDES, "model.net.channels=16"]
OWN = {"finetune": ["data=camo", "init=null"]}
"""Overrides for experiments that need the user's own images and weights: stand-ins for both."""
QUICK = ["experiment=quickstart", *TINY, "data.num_train=16", "data.num_val=2", "data.num_test=2"]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    return write_tasks(tmp_path_factory.mktemp("data"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.usefixtures("no_pictures")
def test_every_experiment_runs_one_batch(experiment, tmp_path, tasks, monkeypatch):
    """With a small encoder; each encoder of `conf/encoder` has a test of its own."""
    monkeypatch.setenv("COS_DATA", str(tasks))
    here = [
        "debug=one_batch",
        "effective_batch=null",
        "trainer.check_val_every_n_epoch=1",
        f"paths.output_dir={tmp_path}",
    ]
    cfg = config("train", f"experiment={experiment}", *OWN.get(experiment, []), *TINY, *here)
    scores = train(cfg)
    assert np.isfinite(list(scores.values())).all()
    assert {"train/loss", "val/s_alpha"} <= scores.keys()
    assert any(name.startswith("test/") for name in scores) == cfg.test


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name.startswith("run_")])
def test_published_batches_divide_or_say_what_would(experiment):
    cfg = config("train", f"experiment={experiment}", "paths.output_dir=out")
    for devices in (1, 2, 4):
        images = devices * cfg.data.batch_size
        if cfg.effective_batch % images:
            with pytest.raises(UserError, match=f"effective_batch={cfg.effective_batch}"):
                accumulation(cfg.effective_batch, cfg.data.batch_size, devices)
        else:
            assert accumulation(cfg.effective_batch, cfg.data.batch_size, devices) * images == cfg.effective_batch


@pytest.mark.parametrize(
    ("effective", "batch_size", "devices", "way"),
    [
        (36, 8, 1, "data.batch_size=6"),
        (36, 18, 4, "data.batch_size=9"),
        (36, 40, 1, "data.batch_size=36"),
        (36, 9, 8, "effective_batch=72"),
        (7, 7, 2, "effective_batch=14"),
        (0, 4, 1, "effective_batch=4"),
    ],
)
def test_an_impossible_batch_names_one_that_is_not(effective, batch_size, devices, way):
    with pytest.raises(UserError, match=way):
        accumulation(effective, batch_size, devices)
    key, value = way.split("=")
    mended = {"effective": effective, "batch_size": batch_size}
    mended["batch_size" if key == "data.batch_size" else "effective"] = int(value)
    assert accumulation(**mended, devices=devices) >= 1


def test_an_impossible_batch_is_told_with_every_other_mistake_before_anything_is_written(tmp_path):
    out = tmp_path / "run"
    wrong = [
        "effective_batch=9",
        "trainer=ddp_cpu",
        "model.net.num_stages=0",
        "data.concealment=2",
        f"paths.output_dir={out}",
    ]
    with pytest.raises(UserError) as error:
        train(config("train", *QUICK, *wrong))
    for told in ("effective_batch=9 can't be made of", "on 2 devices", "num_stages: got 0", "concealment"):
        assert told in str(error.value)
    assert not out.exists()


@pytest.mark.slow
def test_the_optimiser_steps_once_an_effective_batch(tmp_path):
    train(
        config(
            "train", *QUICK, "effective_batch=8", "test=false", "trainer.max_epochs=1", f"paths.output_dir={tmp_path}"
        )
    )
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 2  # 16 images


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_debug_overfit_learns_one_batch_by_heart(tmp_path):
    overrides = [
        "debug=overfit",
        "trainer.max_epochs=20",
        "trainer.check_val_every_n_epoch=20",
        f"paths.output_dir={tmp_path}",
    ]
    train(config("train", *QUICK, *overrides))
    rows = (tmp_path / "logs" / "version_0" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(losses) == 20
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_debug_profile_writes_the_operators(tmp_path):
    train(config("train", *QUICK, "debug=profile", f"paths.output_dir={tmp_path}"))
    assert "aten::convolution" in next(tmp_path.glob("fit-profile*.txt")).read_text()
