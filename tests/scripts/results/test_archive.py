"""Storing a run's numbers and reading them: no duplicates, no numbers of another kind, nothing overwritten."""

from __future__ import annotations

import gzip
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.results.archive import LAYOUTS, SCORED, Variant, read_results
from scripts.results.store import store, store_run
from src.utils.errors import UserError
from tests.fixtures.fake_runs import IMAGES, write_evaluation, write_run

VALUES = {"test": (0.6, 0.7, 0.8, 0.9), "holdout": (0.5, 0.6)}
STORED = {"dataset": "CAMO", "split": "holdout", "size": 224, "network": "run", "seed": 0, "commit": "abc1234"}


def _files(results: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(results.rglob("*")) if path.is_file()}


def _mean_scores(results: Path) -> dict[tuple[object, ...], float]:
    """Of the test set: network, seed and variant → mean S_α."""
    images = read_results(results).images
    return (
        images[images["split"] == "test"]
        .groupby(["network", "seed", *Variant._fields])["s_alpha"]
        .mean()
        .round(6)
        .to_dict()
    )


@pytest.mark.slow
def test_a_run_becomes_rows_of_images_stages_epochs_and_its_cost(tmp_path):
    run = write_run(tmp_path / "run", VALUES, stages=(0.4, 0.75), seed=2)
    files = store_run(run, "run", tmp_path / "results")
    assert sorted(path.relative_to(tmp_path / "results" / "data").as_posix() for path in files) == [
        "epochs.csv",
        "images.csv.gz",
        "runs.csv",
        "stages.csv",
    ]
    for name in ("images", "epochs", "runs", "stages"):
        assert list(pd.read_csv(tmp_path / "results" / "data" / LAYOUTS[name].file)) == LAYOUTS[name].columns
    stored = read_results(tmp_path / "results")
    test = stored.images[stored.images["split"] == "test"]
    assert list(zip(test["image"], test["s_alpha"], strict=True)) == list(zip(IMAGES, VALUES["test"], strict=True))
    assert list(test.iloc[0])[:9] == ["CAMO", "test", 224, "run", 2, "abc1234", *Variant()]
    by_map = stored.stages.set_index(["split", "map"])
    assert list(by_map.loc["test"]["s_alpha"].items()) == [("M_0", 0.4), ("M_1", 0.75)]
    assert by_map.loc[("holdout", "M_1"), "gain"] == pytest.approx(0.11)  # of the epoch with the best S_α, the last
    assert math.isnan(by_map.loc[("test", "M_1"), "gain"])
    (training,) = stored.runs.to_dict("records")
    assert [training[name] for name in ("hours", "epochs", "lr", "holdout_s_alpha")] == [1.2, 12, 5e-4, 0.61]


def test_epochs_are_kept_and_an_epoch_that_was_trained_again_counts_once(tmp_path):
    run = write_run(tmp_path / "run", VALUES, epochs=3)
    store_run(run, "run", tmp_path / "results")
    (run / "logs" / "version_1").mkdir()
    (run / "logs" / "version_1" / "metrics.csv").write_text(
        "epoch,epoch_seconds,val/s_alpha,unfolding/mu_0\n2,360,0.52,\n2,360,,0.5\n3,360,0.5,0.7\n"
    )
    store_run(run, "run", tmp_path / "results", replace=True)
    epochs = read_results(tmp_path / "results").epochs
    logged = {name: dict(zip(rows["epoch"], rows["value"], strict=True)) for name, rows in epochs.groupby("name")}
    assert logged["unfolding/mu_0"] == {1: 0.01, 2: 0.02, 3: 0.5, 4: 0.7}
    assert logged["val/gain_1"] == {1: 0.0, 2: 0.01, 3: 0.02}
    # A run of a search for learning rates: its epochs are not stored.
    store_run(write_run(tmp_path / "short", {}, epochs=3, lr=1e-2), "run", tmp_path / "results")
    after = read_results(tmp_path / "results")
    assert (len(after.runs), len(after.epochs)) == (3, len(epochs))


def test_how_a_network_was_evaluated_is_read_from_what_src_eval_noted(tmp_path):
    run = write_run(tmp_path / "run", VALUES)
    write_evaluation(run / "test-closing_step_x1.5", (0.3,) * 4, closing_step=False, sharpness=1.5)
    write_evaluation(run / "whatever", (0.2,) * 4, rounds=2)
    write_evaluation(run / "larger", (0.9,) * 4, data={"image_size": 4096})  # another size than the training's
    store_run(run, "run", tmp_path / "results")
    expected = {Variant(): 0.75, Variant(1, "false", 1.5): 0.3, Variant(rounds=2): 0.2}
    assert _mean_scores(tmp_path / "results") == {("run", 0, *variant): score for variant, score in expected.items()}
    write_evaluation(run / "again", (0.2,) * 4, rounds=2)
    with pytest.raises(UserError, match=r"again and .*whatever were evaluated in the same way"):
        store_run(run, "run", tmp_path / "results", replace=True)
    (run / "again" / ".hydra" / "config.yaml").unlink()
    with pytest.raises(UserError, match="again: was not written by"):
        store_run(run, "run", tmp_path / "results", replace=True)


def test_the_same_again_changes_no_byte_and_other_numbers_need_a_word(tmp_path):
    results = tmp_path / "results"
    store_run(write_run(tmp_path / "one", VALUES), "run", results)
    before = _files(results)
    store_run(tmp_path / "one", "run", results)
    assert _files(results) == before
    other = write_run(tmp_path / "two", VALUES | {"test": (0.1, 0.2, 0.3, 0.4)}, commit="def5678")
    with pytest.raises(UserError, match=r"images.csv.gz: other numbers of dataset=CAMO split=test .* are stored"):
        store_run(other, "run", results)
    assert _files(results) == before
    store_run(other, "run", results, replace=True)
    assert set(read_results(results).images["commit"]) == {"def5678"}
    assert _mean_scores(results) == {("run", 0, *Variant()): 0.25}
    store_run(tmp_path / "one", "run", results, replace=True)
    assert _files(results) == before


def test_one_run_is_put_in_the_place_of_its_own_rows_alone(tmp_path):
    for model in ("run", "fpn"):
        store_run(write_run(tmp_path / model, VALUES), model, tmp_path / "results")
    store_run(write_run(tmp_path / "again", VALUES | {"test": (0.1,) * 4}), "fpn", tmp_path / "results", replace=True)
    store_run(write_run(tmp_path / "seed", VALUES, seed=1), "fpn", tmp_path / "results")
    assert _mean_scores(tmp_path / "results") == {
        ("fpn", 0, *Variant()): 0.1,
        ("fpn", 1, *Variant()): 0.75,
        ("run", 0, *Variant()): 0.75,
    }
    keys = read_results(tmp_path / "results").images[[*SCORED, "image"]]
    assert keys.equals(keys.sort_values([*SCORED, "image"]))  # so that the file does not depend on the order of storing


def test_runs_that_end_at_the_same_time_lose_no_rows(tmp_path):
    rows = [pd.DataFrame([STORED | {"seed": seed, "part": "a", "step": 1, "gain": 0.1}]) for seed in range(12)]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda one: store({"gains": one}, tmp_path), rows))
    assert list(read_results(tmp_path).gains["seed"]) == list(range(12))


def test_floats_read_back_the_same(tmp_path):
    gains = np.random.default_rng(0).standard_normal(200) * 10.0 ** np.arange(-100, 100)
    store(
        {"gains": pd.DataFrame(STORED | {"part": "a", "step": step, "gain": gain} for step, gain in enumerate(gains))},
        tmp_path,
    )
    assert read_results(tmp_path).gains["gain"].tolist() == gains.tolist()


def test_a_commit_is_needed(tmp_path):
    run = write_run(tmp_path / "run", VALUES, commit=None)
    with pytest.raises(UserError, match="name it with --commit"):
        store_run(run, "run", tmp_path / "results")
    assert not (tmp_path / "results").exists()
    store_run(run, "run", tmp_path / "results", commit="1234567")
    assert set(read_results(tmp_path / "results").images["commit"]) == {"1234567"}
    with pytest.raises(UserError, match=r"holds no config\.yaml"):
        store_run(tmp_path, "run", tmp_path / "results")


def _told(results: Path) -> str:
    with pytest.raises(UserError) as error:
        read_results(results)
    return "\n".join(error.value.problems)


def test_everything_wrong_with_stored_rows_is_told_at_once(tmp_path):
    results = tmp_path / "results"
    store_run(write_run(tmp_path / "run", VALUES, stages=(0.5,)), "run", results)
    path = results / "data" / "images.csv.gz"
    header, *_, b, c, d = gzip.decompress(path.read_bytes()).decode().splitlines()
    wrong = [
        b.replace("test", "val"),
        b.replace("0.7", "1.6"),
        b.replace("0.7", "nan"),
        b.replace(",1,", ",1.5,"),
        b.replace("null", "no"),
    ]
    wrong += [c.replace(",run,", ",,"), b.rpartition(",")[0], "", b.replace("224", "").replace("0.7", "many")]
    other = [d.replace(",run,", ",fpn,"), b.replace("abc1234", "other").replace(",b,", ",e,"), d]
    path.write_bytes(gzip.compress("\n".join([header, *wrong, b, c, d, *other]).encode() + b"\n"))
    stages = results / "data" / "stages.csv"
    stages.write_text(stages.read_text().replace("test,224,run", "test,224,fpn_wide"))
    text = _told(results)
    for words in (
        "line 2: split=val: expected test or holdout",
        "line 3: s_alpha=1.6: expected a number from 0 to 1",
        "line 4: s_alpha=nan: expected a number from 0 to 1",
        "line 5: rounds=1.5: expected a whole number",
        "line 6: closing_step=no: expected null or true or false",
        "line 7: network=: expected a name",
        "line 8: iou=: expected a number from 0 to 1",
        "line 9: dataset=: expected a name",
        "line 10: size=: expected a whole number",
        "line 10: s_alpha=many: expected a number from 0 to 1",
        "line 16: repeats "
        "dataset=CAMO split=test size=224 network=run seed=0 rounds=1 closing_step=null sharpness=1.0 image=d",
        "images.csv.gz: dataset=CAMO split=test size=224 network=run seed=0 rounds=1 closing_step=null sharpness=1.0 "
        "has the commits "
        "abc1234, other",
        "have other images: 3 are in only one of them, e.g. b",
        "only stages.csv has dataset=CAMO split=test size=224 network=fpn_wide seed=0",
        "only images.csv.gz has dataset=CAMO split=test size=224 network=run seed=0",
    ):
        assert words in text, (words, text)


def test_files_that_cannot_be_read_and_unknown_columns_are_told_at_once(tmp_path):
    results = tmp_path / "results"
    store_run(write_run(tmp_path / "run", VALUES), "run", results)
    data = results / "data"
    (data / "images.csv.gz").write_bytes((data / "images.csv.gz").read_bytes()[:-30])
    (data / "runs.csv").write_text((data / "runs.csv").read_text().replace("lr", "rate"))
    (data / "gains.csv").write_text(
        f"{','.join(LAYOUTS['gains'].columns)}\n" + 2 * "CAMO,test,224,run,0,abc1234,a,1,0.5,7\n"
    )
    (data / "epochs.csv").write_text((data / "epochs.csv").read_text() + "CAMO,224,run,0,abc1234,1,name,0.5,7\n")
    (data / "starts.csv").write_bytes(b"\xff\xfe")
    text = _told(results)
    for name in ("images.csv.gz", "epochs.csv", "starts.csv"):
        assert f"{data / name}: cannot be read" in text
    for name in (
        "runs.csv: has the columns dataset, size, network, seed, commit, epochs, rate",
        "gains.csv: has the columns",
    ):
        assert f"{data / name}" in text
    before = _files(results)
    with pytest.raises(UserError, match="nothing was stored"):
        store_run(tmp_path / "run", "run", results, replace=True)
    assert _files(results) == before


def test_tasks_measures_and_images_belong_together(tmp_path):
    run = write_run(tmp_path / "run", {}, dataset="Kvasir-SEG")
    write_evaluation(
        run / "test", VALUES["test"], dataset="Kvasir-SEG", extra={"dice_mean": (0.9,) * 4, "iou_mean": (0.8,) * 4}
    )
    store_run(run, "run", tmp_path / "results")
    assert set(read_results(tmp_path / "results").images["dice_mean"]) == {0.9}
    path = tmp_path / "results" / "data" / "tasks.csv"
    path.write_text(path.read_text().replace(",a,", ",z,"))
    text = _told(tmp_path / "results")
    assert "only tasks.csv has" in text
    assert "image=z" in text
    assert "only images.csv.gz has" in text
    assert "image=a" in text


def test_starts_and_gains_fill_their_tables(tmp_path):
    gains = pd.DataFrame(
        STORED | {"part": part, "step": step, "gain": 0.1} for part, step in (("a", 1), ("a", 2), ("b", 1))
    )
    starts = pd.DataFrame(
        STORED | {"start": start, "map": name, "s_alpha": 0.1, "mae": 0.1}
        for start, name in (("a", "M_0"), ("b", "M_1"))
    )
    store({"gains": gains, "starts": starts}, tmp_path)
    text = _told(tmp_path)
    assert (
        "gains.csv: dataset=CAMO split=holdout size=224 network=run seed=0: not every part has the same steps" in text
    )
    assert (
        "starts.csv: dataset=CAMO split=holdout size=224 network=run seed=0: not every start has the same maps" in text
    )
