"""`sweep=optuna`: the search space, what it refuses, and a killed search that resumes."""

from __future__ import annotations

import math
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.report.sweep.groups import collect
from src.report.sweep.jobs import read_jobs
from src.utils.errors import UserError
from tests.fixtures.tiny import TWO_STAGE_OVERRIDES
from tests.fixtures.wandb_file import OfflineRun
from tests.fixtures.warm_python import run

optuna = pytest.importorskip("optuna")

from hydra_plugins.optuna_search import STUDY, OptunaSweeper, distribution  # noqa: E402
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402


def drawn(words: str) -> object:
    (override,) = OverridesParser.create().parse_overrides([f"key={words}"])
    return distribution(override)


def test_the_space_is_written_in_hydras_syntax():
    assert drawn("interval(0,2)") == FloatDistribution(0, 2)
    assert drawn("tag(log,interval(1e-5,1e-2))") == FloatDistribution(1e-5, 1e-2, log=True)
    assert drawn("int(interval(1,6))") == IntDistribution(1, 6)
    assert drawn("range(1,8,2)") == IntDistribution(1, 7, step=2)
    assert drawn("choice(both,small)") == CategoricalDistribution(["both", "small"])
    assert drawn("16,32") == CategoricalDistribution(["16", "32"])


@pytest.mark.parametrize(("words", "expected"), [("interval(2,1)", "a < b"), ("tag(log,interval(0,1))", "0 < a < b")])
def test_an_empty_interval_is_named(words, expected):
    with pytest.raises(UserError, match=expected):
        drawn(words)


def test_numbers_that_are_none_are_named():
    sweeper = OptunaSweeper("many", 0, 0, {})  # type: ignore[arg-type]
    sweeper.config = OmegaConf.create({"test": False})
    with pytest.raises(UserError) as error:
        sweeper._check({"loss.edge": FloatDistribution(0, 1)})
    expected = "expected a whole number, at least 1"
    assert error.value.problems == (f"hydra.sweeper.trials=many: {expected}", f"hydra.sweeper.parallel=0: {expected}")


def multirun(*words: str) -> subprocess.CompletedProcess[str]:
    return run("src.train", "-m", *TWO_STAGE_OVERRIDES, "trainer.max_epochs=1", *words)


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on_and_finds_the_best(tmp_path):
    place = f"sqlite:///{tmp_path / STUDY}"
    space = {
        "model.optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True),
        "loss.edge": CategoricalDistribution(["0.5", "1.0"]),
    }
    # Nobody reported how this trial ended.
    killed = optuna.create_study(storage=place, study_name="search", direction="maximize").ask(space)
    words = ["hydra.sweeper.space={model.optimizer.lr: 'tag(log,interval(1e-4,1e-2))'}", "loss.edge=choice(0.5,1.0)"]
    result = multirun("sweep=optuna", *words, "hydra.sweeper.trials=3", f"paths.output_dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    trials = optuna.load_study(study_name="search", storage=place).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 3
    assert trials[0].params == killed.params
    assert len({trial.params["model.optimizer.lr"] for trial in trials}) == 3
    jobs = read_jobs(tmp_path)
    assert [job.state for job in jobs] == ["finished"] * 3
    for trial, job in zip(trials, jobs, strict=True):
        assert job.config["test"] is False
        assert trial.value == job.best
        assert float(job.config["model"]["optimizer"]["lr"]) == pytest.approx(
            trial.params["model.optimizer.lr"], rel=0.006
        )
        assert job.config["loss"]["edge"] == float(trial.params["loss.edge"])
    best = OmegaConf.load(tmp_path / "best.yaml")
    assert best["val/s_alpha"] == max(job.best for job in jobs)
    found = dict(word.split("=") for word in best.overrides)
    # The best trial may be one that searched the rest of conf/sweep/optuna.yaml too.
    assert space.keys() <= found.keys()
    assert found == {key: jobs[best.trial].overrides[key] for key in found}
    assert " ".join(best.overrides) in result.stdout  # the line that trains the winner
    assert max(max(group.holdout) for group in collect(tmp_path, cost=False).groups) == best["val/s_alpha"]


def sweeper(folder: Path, **config: object) -> OptunaSweeper:
    one = OptunaSweeper(trials=3, parallel=1, seed=0, space={})
    one.folder, one.config, one.fixed = folder, OmegaConf.create(config), ["model=run"]
    return one


def test_seeds_and_test_sets_are_no_part_of_a_search(tmp_path):
    with pytest.raises(UserError) as raised:
        sweeper(tmp_path, test=True)._check({"seed": IntDistribution(0, 2)})
    assert len(raised.value.problems) == 2
    assert raised.value.problems[0].startswith("seed: ")
    assert "test=true" in raised.value.problems[1]


def test_a_folder_takes_one_search(tmp_path):
    space = {"model.optimizer.lr": FloatDistribution(1e-4, 1e-2, log=True)}
    assert not sweeper(tmp_path)._study(space).trials
    assert not sweeper(tmp_path)._study(space).trials
    with pytest.raises(UserError, match="a search with other settings") as raised:
        sweeper(tmp_path)._study({"loss.edge": FloatDistribution(0, 1)})
    there, here = raised.value.problems
    assert there.startswith("there, not here: model.optimizer.lr=FloatDistribution")
    assert here.startswith("here, not there: loss.edge=FloatDistribution")


@pytest.mark.slow
def test_a_failed_job_leaves_the_others_alone_and_its_message_in_the_table(tmp_path):
    """A grid with a mistake in one job, and W&B: groups and names of runs, the exit status, the sweep's table."""
    result = multirun(
        "encoder.name=resnet51,tf_efficientnet_lite0", "logger=wandb", f"paths.output_dir={tmp_path / 'grid'}"
    )
    assert result.returncode == 2
    assert "error: 1 of the 2 jobs failed:\n  - 0: encoder.name: timm has no model 'resnet51'" in result.stderr
    failed, finished = read_jobs(tmp_path / "grid")
    assert (failed.state, finished.state) == ("failed", "finished")
    assert failed.why.startswith("encoder.name: timm has no model 'resnet51'")
    assert not math.isnan(finished.best)
    (folder,) = (tmp_path / "grid" / "1" / "wandb").glob("offline-run-*")
    tracked = OfflineRun(folder).run
    assert (tracked.run_group, tracked.display_name) == ("grid", "name=tf_efficientnet_lite0")
