"""Storing a run's numbers, and reading them: nothing doubled, nothing foreign, nothing overwritten."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from scripts.results.archive import IMAGE_COLUMNS, STAGE_COLUMNS, Key, read_results
from scripts.results.store import store_run
from src.utils.errors import UserError
from tests.fixtures.fake_runs import IMAGES, write_run

VALUES = {"test": (0.6, 0.7, 0.8, 0.9), "holdout": (0.5, 0.6)}


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(encoding="utf-8")))


def test_a_run_becomes_rows_of_images_stages_and_its_cost(tmp_path):
    run = write_run(tmp_path / "run", VALUES, stages=(0.4, 0.75), seed=2)
    files = store_run(run, "run", tmp_path / "results")
    assert [str(path.relative_to(tmp_path / "results")) for path in files] == [
        "CAMO_test_224_run_seed2.csv",
        "stages/CAMO_test_224_run_seed2.csv",
        "CAMO_holdout_224_run_seed2.csv",
        "stages/CAMO_holdout_224_run_seed2.csv",
        "epochs/CAMO_224_run_seed2.csv",
        "runs/CAMO_224_run_seed2_epochs12_lr0.0005.csv",
    ]
    rows = _rows(files[0])
    assert list(rows[0]) == list(IMAGE_COLUMNS)
    assert [(row["image"], float(row["s_alpha"])) for row in rows] == list(zip(IMAGES, VALUES["test"], strict=True))
    assert list(rows[0].values())[:6] == ["CAMO", "test", "224", "run", "2", "abc1234"]
    assert list(_rows(files[1])[0]) == list(STAGE_COLUMNS)

    stored = read_results(tmp_path / "results")
    by_split = {one.key.split: one for one in stored.runs}
    assert by_split["test"].key == Key("CAMO", "test", 224, "run", 2)
    assert by_split["test"].mean("s_alpha") == pytest.approx(0.75)
    assert {name: values["s_alpha"] for name, values in by_split["test"].stages.items()} == {"M_0": 0.4, "M_1": 0.75}
    assert by_split["holdout"].stages["M_1"]["gain"] == pytest.approx(0.11)  # of the epoch with the best S_α, the last
    assert math.isnan(by_split["test"].stages["M_1"]["gain"])
    (training,) = stored.trainings
    assert (training.hours, training.epochs, training.lr, training.holdout_s_alpha) == (1.2, 12, 5e-4, 0.61)


def test_epochs_are_kept_and_an_epoch_that_was_trained_again_counts_once(tmp_path):
    run = write_run(tmp_path / "run", VALUES, epochs=3)
    store_run(run, "run", tmp_path / "results")
    (run / "logs" / "version_1").mkdir()
    (run / "logs" / "version_1" / "metrics.csv").write_text(
        "epoch,epoch_seconds,val/s_alpha,unfolding/mu_0\n2,360,0.52,\n2,360,,0.5\n3,360,0.5,0.7\n"
    )
    store_run(run, "run", tmp_path / "results", replace=True)
    (history,) = read_results(tmp_path / "results").histories
    assert (history.dataset, history.size, history.model, history.seed) == ("CAMO", 224, "run", 0)
    assert history.values["unfolding/mu_0"] == {1: 0.01, 2: 0.02, 3: 0.5, 4: 0.7}
    assert history.values["val/gain_1"] == {1: 0.0, 2: 0.01, 3: 0.02}
    store_run(write_run(tmp_path / "short", {}, epochs=3, lr=1e-2), "run", tmp_path / "results")  # of a search for rates: no epochs
    assert len(list((tmp_path / "results" / "epochs").iterdir())) == 1


def test_the_same_again_is_fine_and_other_numbers_need_a_word(tmp_path):
    results = tmp_path / "results"
    store_run(write_run(tmp_path / "one", VALUES), "run", results)
    store_run(tmp_path / "one", "run", results)
    other = write_run(tmp_path / "two", VALUES | {"test": (0.1, 0.2, 0.3, 0.4)}, commit="def5678")
    before = {path: path.read_bytes() for path in results.rglob("*.csv")}
    with pytest.raises(UserError, match="other numbers are stored there"):
        store_run(other, "run", results)
    assert {path: path.read_bytes() for path in results.rglob("*.csv")} == before
    store_run(other, "run", results, replace=True)
    assert {(one.commit, round(one.mean("s_alpha"), 6)) for one in read_results(results).runs if one.key.split == "test"} == {
        ("def5678", 0.25)
    }


def test_a_commit_is_needed(tmp_path):
    run = write_run(tmp_path / "run", VALUES, commit=None)
    with pytest.raises(UserError, match="name it with --commit"):
        store_run(run, "run", tmp_path / "results")
    assert not (tmp_path / "results").exists()
    store_run(run, "run", tmp_path / "results", commit="1234567")
    assert {one.commit for one in read_results(tmp_path / "results").runs} == {"1234567"}
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        store_run(tmp_path, "run", tmp_path / "results")


def test_everything_wrong_with_stored_files_is_told_at_once(tmp_path):
    store_run(write_run(tmp_path / "run", VALUES), "run", tmp_path / "results")
    good = (tmp_path / "results" / "CAMO_test_224_run_seed0.csv").read_text(encoding="utf-8")
    header, first, second, *_ = good.splitlines()

    def write(name: str, *lines: str) -> None:
        (tmp_path / "results" / name).write_text("\n".join(lines) + "\n", encoding="utf-8")

    write("again.csv", header, first)
    write("columns.csv", header.replace("mae", "MAE"), first)
    write("commit.csv", header, second.replace("abc1234", "other"))
    write("values.csv", header, first.replace("test", "val"), first.replace("0.6", "1.6"), first.replace("0.6", "nan"), first + ",1", "")
    write("images.csv", header, first.replace("run", "fpn"))
    with pytest.raises(UserError) as error:
        read_results(tmp_path / "results")
    text = str(error.value)
    for words in (
        "image a of CAMO test, run at 224 px, seed 0 is there twice",
        "columns.csv: has the columns",
        "is there with the commits abc1234 and other",
        "values.csv, line 2: split=val: expected test or holdout",
        "values.csv, line 3: s_alpha=1.6: lies outside 0 … 1",
        "values.csv, line 4: s_alpha=nan: is no number",
        "values.csv, line 5: has more or fewer values",
        "have other images: 3 are in one alone, e.g. b",
    ):
        assert words in text, words
