"""What W&B (offline) and TensorBoard have recorded of a training that is resumed and tested."""

from __future__ import annotations

import csv
import json
from contextlib import suppress
from pathlib import Path

import pytest
import wandb
from PIL import Image

from src.loggers.tracker import closing, job_name
from src.loggers.wandb import Wandb
from src.train import train
from src.utils.errors import UserError, user_error
from src.utils.revision import revision
from tests.fixtures.tiny import TWO_STAGE_OVERRIDES, config
from tests.fixtures.wandb_file import OfflineRun

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
WATCHED = ["logger=[wandb,tensorboard]", "logger.wandb.checkpoints=true", "callbacks=[default,panel]"]
WATCHED += ["callbacks.panel.every_n_epochs=1", "callbacks.panel.images=1"]


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One epoch, then from its checkpoint a second one with the test."""
    folder = tmp_path_factory.mktemp("runs") / "my_run"
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
            patch.setenv(name, str(folder.parent / name.lower()))
        for more in (["trainer.max_epochs=1"], ["trainer.max_epochs=2", "ckpt_path=last", "test=true"]):
            train(config("train", *TWO_STAGE_OVERRIDES, *WATCHED, f"paths.output_dir={folder}", *more))
        wandb.teardown()  # what a process does at its end: waits until W&B's own process has written everything
    return folder


def logged(folder: Path, key: str) -> list[float]:
    """A column of the CSV logs, first run and resumption."""
    files = sorted(folder.glob("logs/version_*/metrics.csv"))
    return [float(row[key]) for file in files for row in csv.DictReader(file.open()) if row.get(key)]


def runs(folder: Path) -> list[OfflineRun]:
    return [OfflineRun(path) for path in sorted(folder.glob("wandb/offline-run-*"))]


@pytest.mark.slow
def test_wandb_goes_on_with_the_same_run(tracked):
    first, second = runs(tracked)
    assert first.run.run_id == second.run.run_id == (tracked / "wandb" / "run_id.txt").read_text().strip()
    assert (first.run.project, first.run.display_name, first.run.run_group) == ("run", "my_run", "")
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert wandb.run is None
    assert [*first.series("val/s_alpha"), *second.series("val/s_alpha")] == pytest.approx(
        logged(tracked, "val/s_alpha")
    )
    assert max(first.series("trainer/global_step")) <= 8 < max(second.series("trainer/global_step"))
    assert {
        "train/structure",
        "train/edge",
        "learning_rate",
        "gradient_norm",
        "images_per_second",
        "unfolding/mu_0",
    } <= first.keys


@pytest.mark.slow
def test_a_run_that_breaks_off_is_failed_and_the_next_job_has_its_own(tmp_path):
    """Jobs of a sweep share a process: a W&B run that one of them leaves open would continue in the next job."""
    for name, stops in (("0", True), ("1", False)):
        logger = Wandb(str(tmp_path / name), "run", offline=True, checkpoints=False)
        with suppress(KeyboardInterrupt), closing([logger, object()]):
            logger.log_hyperparams({"seed": 0})
            if stops:
                raise KeyboardInterrupt
        assert wandb.run is None
    wandb.teardown()
    (first,), (second,) = runs(tmp_path / "0"), runs(tmp_path / "1")
    assert (first.exit_code, second.exit_code) == (1, 0)
    assert first.run.run_id != second.run.run_id


@pytest.mark.slow
def test_wandb_has_configuration_and_revision(tracked):
    first, second = runs(tracked)
    assert first.config["model"]["net"]["num_stages"] == 2
    assert (first.config["trainer"]["max_epochs"], second.config["trainer"]["max_epochs"]) == (1, 2)
    assert first.config["commit"] == revision()


@pytest.mark.slow
def test_wandb_has_pictures_tables_and_checkpoints(tracked):
    first, second = runs(tracked)
    for run, epoch in ((first, 0), (second, 1)):
        ((name,),) = run.series("validation.filenames")
        assert (run.folder / "files" / name).read_bytes() == (
            tracked / "panels" / f"epoch_{epoch:03d}.png"
        ).read_bytes()
    assert not first.series("test/per_image.path")
    (path,) = second.series("test/per_image.path")
    table = json.loads((second.folder / "files" / path).read_text())
    rows = list(csv.DictReader((tracked / "per_image.csv").open()))
    assert [row[table["columns"].index("image")] for row in table["data"]] == [row["image"] for row in rows]
    assert [row[table["columns"].index("s_alpha")] for row in table["data"]] == [float(row["s_alpha"]) for row in rows]
    (path,) = second.series("test/gallery_synthetic.path")
    assert (second.folder / "files" / path).read_bytes() == (tracked / "gallery_synthetic.png").read_bytes()
    means = [float(row["s_alpha"]) for row in csv.DictReader((tracked / "metrics.csv").open())]
    assert second.series("test/synthetic/s_alpha") == pytest.approx([means[-1]])
    run_id = first.run.run_id
    models = [{artifact.name for artifact in run.artifacts if artifact.type == "model"} for run in (first, second)]
    assert models[0] == {f"{run_id}-best", f"{run_id}-last"}
    before, after = logged(tracked, "val/s_alpha")
    assert models[1] == {f"{run_id}-last"} | ({f"{run_id}-best"} if after > before else set())


@pytest.mark.slow
def test_tensorboard_has_curves_and_pictures(tracked):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(tracked / "tensorboard"), size_guidance={"images": 0})
    events.Reload()
    found = {event.step: event.value for event in events.Scalars("val/s_alpha")}
    assert list(found.values()) == pytest.approx(logged(tracked, "val/s_alpha"))
    with Image.open(tracked / "panels" / "epoch_001.png") as picture:
        assert [(event.width, event.height) for event in events.Images("validation")][-1] == picture.size
    assert {"test/gallery_synthetic", "test/curves_synthetic"} <= set(events.Tags()["images"])
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "num_stages: 2" in text


def test_tensorboard_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("src.loggers.tensorboard.find_spec", lambda name: None)
    with pytest.raises(Exception, match="tensorboard") as raised:
        train(config("train", *TWO_STAGE_OVERRIDES, "logger=tensorboard", f"paths.output_dir={tmp_path}"))
    assert r"pip install -e '.[tensorboard]'" in str(user_error(raised.value))


@pytest.mark.slow
def test_online_without_an_account_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    with pytest.raises(UserError, match=r"logger\.wandb.*wandb login"):
        train(
            config(
                "train",
                *TWO_STAGE_OVERRIDES,
                "logger=wandb",
                "logger.wandb.offline=false",
                f"paths.output_dir={tmp_path / 'run'}",
            )
        )
    assert wandb.run is None


def test_a_job_is_named_by_its_overrides():
    assert job_name(["ablation=no_robe", "+model.optimizer.lr=0.001", "seed=1"]) == "no_robe, lr=0.001, seed=1"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "offline"),
        ({"WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_MODE": "online"}, "online"),
        ({"WANDB_SWEEP_ID": "s"}, "online"),
        ({"WANDB_SWEEP_ID": "s", "WANDB_MODE": "offline"}, "offline"),
    ],
)
def test_the_variables_of_wandb_are_respected(monkeypatch, tmp_path, variables, expected):
    for name in ("WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    logger = Wandb(str(tmp_path / "folder"), "run", offline=True, checkpoints=False)
    assert (logger._wandb_init["mode"], logger._wandb_init["name"]) == (expected, "folder")
    monkeypatch.setenv("WANDB_NAME", "mine")
    assert Wandb(str(tmp_path / "folder"), "run", offline=True, checkpoints=False)._wandb_init["name"] is None


def test_a_disabled_run_leaves_no_id_to_resume(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    logger = Wandb(str(tmp_path), "run", offline=True, checkpoints=False)
    logger.experiment.log({"x": 1})
    assert not (tmp_path / "wandb" / "run_id.txt").exists()
