"""`src.report.sweep.summary` on multirun folders made by hand: every job state, known means and differences, files."""

from __future__ import annotations

import csv
import json
import math
import os
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.cli.command import CONF
from src.cli.job_record import JobNote, forget_waiting, note_waiting, read_record
from src.report.files import image_rows, write_csv
from src.report.sweep.groups import collect
from src.report.sweep.jobs import name_jobs, read_jobs
from src.report.sweep.summary import main, write_sweep
from src.utils.errors import UserError
from tests.fixtures.fake_scores import set_scores

BASE = np.random.default_rng(0).uniform(0.4, 0.6, 40)


def make_job(
    root: Path, number: int, ablation: str, seed: int, shift: float | None = 0.0, record: dict | None = None, **config
) -> Path:
    """A job's folder; `shift` None: no scores. The scores of seed s are higher by 0.01·s."""
    folder = root / str(number)
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "overrides.yaml").write_text(
        yaml.safe_dump([f"ablation={ablation}", f"seed={seed}", "data.batch_size=2"])
    )
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"seed": seed, "test": True, "trainer": {"max_epochs": 3}} | config)
    )
    (folder / "logs" / "version_0").mkdir(parents=True)
    epochs = 3 if shift is not None else 2
    rows = [{"epoch": e, "val/s_alpha": 0.5 + 0.01 * e} for e in range(epochs)] + [
        {"epoch": e, "epoch_seconds": 10.0 + e} for e in range(epochs)
    ]
    write_csv(folder / "logs" / "version_0" / "metrics.csv", rows)
    if shift is not None:
        values = BASE + shift + 0.01 * seed
        write_csv(
            folder / "per_image.csv",
            image_rows([set_scores("CAMO", "RUN", {"s_alpha": values, "mae": values})], "field"),
        )
    if record is not None:
        (folder / "job.json").write_text(json.dumps(record))
    return folder


@pytest.fixture
def multirun(tmp_path):
    make_job(tmp_path, 0, "full", 0)
    make_job(tmp_path, 1, "full", 1)
    make_job(tmp_path, 2, "no_robe", 0, shift=-0.05)
    make_job(tmp_path, 3, "no_robe", 1, shift=-0.05)
    here = {"state": "running", "host": socket.gethostname()}
    make_job(tmp_path, 4, "no_residual", 0, shift=None, record=here | {"pid": os.getpid()})
    make_job(tmp_path, 5, "no_residual", 1, shift=None, record=here | {"pid": 2**22 + 1})
    make_job(tmp_path, 6, "stages_1", 0, shift=None, record={"state": "failed", "error": "ValueError: NaN loss"})
    make_job(tmp_path, 10, "stages_1", 1, shift=None)
    return tmp_path


def test_every_job_has_its_state(multirun):
    jobs = read_jobs(multirun)
    assert [(job.folder.name, job.state) for job in jobs] == [
        ("0", "finished"), ("1", "finished"), ("2", "finished"), ("3", "finished"),
        ("4", "running"), ("5", "stopped"), ("6", "failed"), ("10", "stopped"),
    ]  # fmt: skip
    assert jobs[6].why == "ValueError: NaN loss"
    assert (jobs[4].epochs, jobs[4].epoch_seconds, jobs[4].best) == (2, 10.5, 0.51)


def test_without_a_test_a_job_is_finished_with_its_last_epoch(tmp_path):
    make_job(tmp_path, 0, "full", 0, shift=0.0, test=False)
    make_job(tmp_path, 1, "full", 1, shift=None, test=False)
    first, second = read_jobs(tmp_path)
    assert (first.state, second.state) == ("finished", "stopped")
    (tmp_path / "0" / "per_image.csv").unlink()
    assert read_jobs(tmp_path)[0].state == "finished"


def test_means_deviations_and_differences_are_those_that_were_put_in(multirun):
    sweep = collect(multirun, columns=["s_alpha", "mae"], cost=False)
    full, without = sweep.groups[0], sweep.groups[1]
    assert (full.name, without.name, sweep.reference) == ("full", "no_robe", "full")
    assert full.means("CAMO", "s_alpha") == pytest.approx([BASE.mean(), BASE.mean() + 0.01])
    (s_alpha, mae) = sweep.comparisons["CAMO"]
    assert (s_alpha.first, s_alpha.second, s_alpha.images) == ("full", "no_robe", 40)
    assert s_alpha.difference == pytest.approx(0.05)
    assert (s_alpha.better, mae.better) == ("full", "no_robe")
    assert sweep.marks("CAMO") == {("no_robe", "s_alpha"): "▼", ("no_robe", "mae"): "▲"}


def test_files_hold_the_figures(multirun):
    write_sweep(multirun, collect(multirun, columns=["s_alpha", "mae"], cost=False))
    with (multirun / "sweep.csv").open(encoding="utf-8") as file:
        rows = {row["configuration"]: row for row in csv.DictReader(file)}
    assert float(rows["no_robe"]["s_alpha_mean"]) == pytest.approx(BASE.mean() - 0.045)
    assert float(rows["no_robe"]["s_alpha_std"]) == pytest.approx(0.01 / math.sqrt(2))
    assert (rows["no_residual"]["jobs_running"], rows["no_residual"]["jobs_stopped"]) == ("1", "1")
    text = (multirun / "sweep.md").read_text(encoding="utf-8")
    assert f"| no_robe | 2 | {BASE.mean() - 0.045:.4f} ± 0.0071 ▼ |" in text
    assert "| no_residual | 0 + 1 running + 1 stopped | – |" in text
    assert "| 6 | stages_1 | 0 | failed | 2/3 | ValueError: NaN loss |" in text
    assert (multirun / "sweep.png").stat().st_size > 5000


def test_a_sweep_without_a_finished_job_still_says_where_it_stands(tmp_path):
    make_job(tmp_path, 0, "full", 0, shift=None)
    tables = write_sweep(tmp_path, collect(tmp_path, cost=False))
    assert len(tables) == 2
    assert not (tmp_path / "sweep.png").exists()


def test_only_what_was_written_is_named(tmp_path, capsys, monkeypatch):
    make_job(tmp_path, 0, "full", 0, shift=None)
    monkeypatch.setattr(sys, "argv", ["sweep", str(tmp_path), "--no-cost"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    assert "sweep.{md,csv}, sweep_comparisons.csv" in capsys.readouterr().out.replace("\n", "")


@pytest.mark.slow
def test_cost_comes_from_the_configuration_alone(tmp_path):
    with initialize_config_dir(CONF, version_base="1.3"):
        small = [
            "experiment=camo_lite0",
            "encoder.name=test_efficientnet",
            "model.net.channels=8",
            "data.image_size=64",
            "paths.output_dir=out",
        ]
        config = OmegaConf.to_container(compose("train", small), resolve=True)
    config.pop("seed")
    make_job(tmp_path, 0, "full", 0, **config)
    make_job(tmp_path, 1, "no_robe", 0, **config | {"model": {"net": {"_target_": "gone.Net"}}})
    full, broken = collect(tmp_path).groups
    assert 1e5 < full.parameters < 1e6
    assert 0 < full.gmacs < 1
    assert math.isnan(broken.parameters)


def test_a_job_notes_how_it_ended(tmp_path):
    note = JobNote(tmp_path)
    note.write({"state": "running", "host": socket.gethostname(), "pid": os.getpid()})
    assert read_record(tmp_path)["state"] == "running"
    note.failed(RuntimeError("out of memory"), "RuntimeError: out of memory\nTried to allocate", mistake=False)
    record = read_record(tmp_path)
    assert (record["state"], record["error"], record["mistake"]) == (
        "failed",
        "RuntimeError: out of memory Tried to allocate",
        False,
    )
    assert record["traceback"].endswith("RuntimeError: out of memory\n")


def test_a_job_that_waits_for_a_cluster_is_in_the_table(multirun):
    assert note_waiting(
        multirun / "20", ["ablation=no_robe", "seed=7", "paths.output_dir=x", "hydra.launcher.partition=y"]
    )
    assert not note_waiting(multirun / "4", ["seed=8"])  # it has begun
    (job,) = [job for job in read_jobs(multirun) if job.state == "waiting"]
    assert (job.folder.name, job.name, job.seed) == ("20", "no_robe", "7")
    forget_waiting(multirun / "20")
    assert not (multirun / "20").exists()


def test_a_job_that_ended_early_is_finished_and_one_that_was_stopped_is_not(tmp_path):
    make_job(tmp_path, 0, "full", 0, shift=None, test=False, record={"state": "finished"})
    make_job(tmp_path, 1, "full", 1, shift=None, test=False, record={"state": "stopped"})
    early, stopped = read_jobs(tmp_path)
    assert (early.state, early.epochs, early.config["trainer"]["max_epochs"]) == ("finished", 2, 3)
    assert (stopped.state, stopped.why) == ("stopped", "its process is gone; ckpt_path=last resumes it")


def test_names_come_from_what_varies():
    assert (
        name_jobs([{"ablation": "full", "seed": "0", "a": "1"}, {"ablation": "full", "seed": "1", "a": "1"}])
        == ["default"] * 2
    )
    assert name_jobs([{"ablation": "a", "model.x": "1"}, {"ablation": "b", "model.x": "2"}]) == ["a, x=1", "b, x=2"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: None, "no such group; there are full, no_robe, no_residual, stages_1"),
        (
            lambda root: (root / "3" / "per_image.csv").write_text(
                (root / "3" / "per_image.csv").read_text().replace("field", "raw")
            ),
            "raw",
        ),
    ],
)
def test_mistakes_are_named(multirun, change, words):
    change(multirun)
    with pytest.raises(UserError, match=words):
        collect(multirun, reference="ful", cost=False)


def test_a_folder_that_is_no_multirun_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no job of a multirun"):
        collect(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        collect(tmp_path / "gone")
