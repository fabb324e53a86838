"""docs/results.md is what docs/results says: known numbers from made runs, words that stay, and the page of this checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.results.archive import Key, read_results, training_of
from scripts.results.networks import SHOWN, grouped
from scripts.results.page import BLOCKS, NOTHING, page_text, write_page
from scripts.results.paired import paired_difference
from scripts.results.store import store_gains, store_run, store_starts
from src.utils.errors import UserError
from tests.fixtures.fake_runs import write_run
from tests.fixtures.tiny import ROOT

DOCS = ROOT / "docs"
RUN = (0.70, 0.80, 0.60, 0.90)
PAGE = "# Ours\n\n" + "\n".join(
    f"words before {name}\n<!-- begin: {name} -->\nold\n<!-- end: {name} -->\nwords after {name}" for name in BLOCKS
)


@pytest.fixture
def made(tmp_path) -> tuple[Path, Path]:
    """RUN with two seeds is 0.02 and 0.04 above its twin on every image; the ablation with K = 1 is 0.1 below on the hold-out."""
    results, page = tmp_path / "results", tmp_path / "results.md"
    twin = tuple(value - 0.03 for value in RUN)
    for seed, shift in enumerate((-0.01, 0.01)):
        values = tuple(value + shift for value in RUN)
        store_run(write_run(tmp_path / f"run{seed}", {"test": values, "holdout": values}, (0.5, 0.75 + shift), seed), "run", results)
    store_run(write_run(tmp_path / "twin", {"test": twin, "holdout": twin}, (0.5, 0.72)), "fpn_ds", results)
    store_run(write_run(tmp_path / "one", {"holdout": tuple(value - 0.1 for value in RUN)}), "run+stages_1", results)
    store_run(write_run(tmp_path / "part", {"holdout": tuple(value - 0.05 for value in RUN)}), "run-robe", results)
    for name, value in (("run+levels_4", 0.73), ("run-coupling+levels_4", 0.71)):
        store_run(write_run(tmp_path / name, {"holdout": (value,) * 4}), name, results)
    for lr in (2e-4, 5e-4):
        store_run(write_run(tmp_path / f"{lr}", {}, lr=lr, epochs=4), "run", results)
    page.write_text(PAGE, encoding="utf-8")
    return results, page


def test_the_page_has_the_means_differences_and_words(made):
    results, page = made
    text = write_page(page, results)
    assert text == page.read_text(encoding="utf-8") == page_text(page, results)
    assert "\nold\n" not in text
    for name in BLOCKS:
        assert f"words before {name}\n<!-- begin: {name} -->" in text
        assert f"<!-- end: {name} -->\nwords after {name}" in text
    assert "| `run` | 2 | **0.7500 ± 0.0141** |" in text
    assert "| `fpn_ds` | 1 | <ins>0.7200</ins> |" in text
    assert "| `run` − `fpn_ds` (best rival) | 2 / 1 | **+0.0300 [+0.0200, +0.0400]** |" in text
    assert "| M_1 | 0.7500 |" in text
    assert "| +0.0300 | +0.1100 |" in text  # stage M_1: run − fpn_ds, and the mask step's gain
    assert "| `run-robe` | 1 / 2 | **−0.0500 [−0.0600, −0.0400]** |" in text
    assert "| `run+levels_4` − `run-coupling+levels_4` | 1 / 1 | **+0.0200 [+0.0200, +0.0200]** |" in text
    assert "| 1 | 1 | 0.6500 |" in text
    assert "| 4 | 2 | 0.7500 ± 0.0141 |" in text
    assert "| `run` | 0.5300 | 0.5300 |" in text.replace("**", "")
    assert "| all |  |  | 9 | 9.20 |" in text
    assert (results / "differences.png").stat().st_size > 5000
    assert "| μ | 0.0100 ± 0.0000 | 0.1200 ± 0.0000 |" in text
    assert "| γ of stage 2 | 0.0000 ± 0.0000 | 0.1100 ± 0.0000 |" in text
    assert "| gain of mask step 1 | 0.0000 ± 0.0000 | 0.1100 ± 0.0000 |" in text
    for name in ("stages", "unfolding"):
        assert (results / f"{name}.png").stat().st_size > 5000


def test_other_tasks_have_a_table_of_their_own(made, tmp_path):
    results, page = made
    for model, values in (("run", RUN), ("fpn_ds", tuple(value - 0.02 for value in RUN)), ("run-closing_step", RUN)):
        folder = write_run(tmp_path / f"drive_{model}", {"test": values}, commit="def5678")
        for path in (folder / "config.yaml", folder / "test" / "per_image.csv", folder / "test" / "metrics.csv"):
            path.write_text(path.read_text(encoding="utf-8").replace("CAMO", "DRIVE"), encoding="utf-8")
        with pytest.raises(UserError, match="lacks auc of DRIVE"):
            store_run(folder, model, results)
        rows = (folder / "test" / "per_image.csv").read_text(encoding="utf-8").splitlines()
        extended = [rows[0] + ",auc", *(row + ",0.75" for row in rows[1:])]
        (folder / "test" / "per_image.csv").write_text("\n".join(extended) + "\n", encoding="utf-8")
        store_run(folder, model, results)
    text = write_page(page, results)
    block = text[text.index("<!-- begin: tasks -->") : text.index("<!-- end: tasks -->")]
    assert "| networks | seeds | SE ↑ | SP ↑ | ACC ↑ | AUC ↑ | IoU@0.5 ↑ | S_α ↑ |" in block
    assert "| `run` | 1 | 0.5000 | 0.5000 | 0.5000 | 0.7500 | 0.5000 | 0.7500 |" in block
    assert "| +0.0000 [+0.0000, +0.0000] | **+0.0200 [+0.0200, +0.0200]** |" in block
    assert block.count("| `run-closing_step` − `fpn_ds` | 1 / 1 |") == 1  # as soft as its twin
    assert "DRIVE" not in text[: text.index("<!-- begin: tasks -->")]


def test_two_rounds_have_tables_of_their_own(made, tmp_path):
    results, page = made
    before = write_page(page, results)
    for model, shift in (("run", 0.05), ("fpn_ds", 0.0)):
        folder = write_run(tmp_path / f"again_{model}", {"test": tuple(value + shift for value in RUN)}, seed=0, method="RUN-2 (pvt_v2_b4)")
        with pytest.raises(UserError, match="was read with rounds=2; what lies in test should be of rounds=1"):
            store_run(folder, model, results, replace=True)
        (folder / "test").rename(folder / "test_rounds2")
        store_run(folder, model, results, replace=True)
    text = write_page(page, results)
    block = text[text.index("<!-- begin: rounds -->") : text.index("<!-- end: rounds -->")]
    assert "### CAMO-Test, input 224 × 224 px, two rounds" in block
    assert "| `run` | 1 | **0.8000** |" in block
    assert "| `run` − `fpn_ds` | 1 / 1 | **+0.0500 [+0.0500, +0.0500]** |" in block
    assert "### CAMO, test, 224 px: what the second round adds" in block
    assert "| `run` | 1 | **+0.0600 [+0.0600, +0.0600]** |" in block  # over seed 0, which had 0.74
    assert "| `fpn_ds` | 1 | **+0.0300 [+0.0300, +0.0300]** |" in block
    for name in ("scores", "differences", "stages", "parts"):
        both = [one[one.index(f"<!-- begin: {name} -->") : one.index(f"<!-- end: {name} -->")] for one in (before, text)]
        assert both[0] == both[1], name


def test_what_was_read_otherwise_is_of_the_same_training(made, tmp_path):
    results, page = made
    run = write_run(tmp_path / "again", {"test": RUN}, (0.5, 0.74))
    for ending, shift in (("-closing_step", -0.02), ("-closing_step_x2", -0.01)):
        other = write_run(tmp_path / ending, {"test": tuple(value + shift for value in RUN)})
        (other / "test").rename(run / f"test{ending}")
    store_run(run, "run", results, replace=True)
    (run / "test_old").mkdir()
    with pytest.raises(UserError, match=r"(?s)do not say how it was read.*test_old"):
        store_run(run, "run", results, replace=True)
    (run / "test_old").rmdir()
    text = write_page(page, results)
    scores, block = (text[text.index(f"<!-- begin: {name} -->") : text.index(f"<!-- end: {name} -->")] for name in ("scores", "sharpness"))
    assert "| `run-closing_step` | 1 | <ins>0.7300</ins> |" in scores
    assert "| `run-closing_step` | 2 | <ins>0.7400</ins> |" in block
    assert "| `run` − `run-closing_step_x2` | 2 / 1 | **+0.0150" in block
    assert "_x2" not in scores
    names = ("run-closing_step_x1.5", "fpn_ds_x2", "run_rounds2", "run-robe", "fpn_wide")
    assert [training_of(name) for name in names] == ["run", "fpn_ds", "run", "run-robe", "fpn_wide"]


def test_other_starts_have_a_table_a_network(made):
    results, page = made
    starts = {"its own": {"M_0": {"s_alpha": 0.7, "mae": 0.2}}, "the truth": {"M_0": {"s_alpha": 1.0, "mae": 0.0}}}
    key = Key("CAMO", "holdout", 224, "run", 0)
    path = store_starts(key, "abc1234", starts, results)
    text = write_page(page, results)
    assert "### CAMO, 224 px, `run`, seed 0: the stages from other starts" in text
    assert "| the truth | 1.000 | 0.000 |" in text
    starts["its own"]["M_0"]["mae"] = 0.3
    with pytest.raises(UserError, match="other numbers are stored there"):
        store_starts(key, "abc1234", starts, results)
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match="M_0 from its own is there twice"):
        write_page(page, results)


def test_gains_of_the_parts_have_a_table_a_network(made):
    results, page = made
    gains = {"the step": {1: 0.0066, 2: -0.01}, "(c) ∇S": {1: 0.001, 2: 0.0}}
    key = Key("CAMO", "holdout", 224, "run", 0)
    path = store_gains(key, "abc1234", gains, results)
    text = write_page(page, results)
    assert "### CAMO, 224 px, `run`, seed 0: what the parts of the mask step gain" in text
    assert "| a step of | M̂_1 | M̂_2 |" in text
    assert "| the step | +0.0066 | −0.0100 |" in text
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(UserError, match="step 1 of the step is there twice"):
        write_page(page, results)
    path.unlink()
    store_gains(key, "abc1234", gains | {"(c) ∇S": {1: 0.001}}, results)
    with pytest.raises(UserError, match="CAMO holdout, run at 224 px, seed 0: not every part has the same steps"):
        write_page(page, results)


def test_writing_again_changes_no_byte(made):
    results, page = made
    write_page(page, results)
    before = {path: path.read_bytes() for path in (page, *results.glob("*.png"))}
    write_page(page, results)
    assert {path: path.read_bytes() for path in before} == before
    assert len(before) == 4


def test_without_results_the_page_says_so(tmp_path):
    page = tmp_path / "results.md"
    page.write_text(PAGE, encoding="utf-8")
    assert write_page(page, tmp_path / "results").count(NOTHING) == len(BLOCKS)


def test_a_page_with_other_markers_is_not_touched(tmp_path):
    page = tmp_path / "results.md"
    text = (PAGE + PAGE[PAGE.index("<!-- begin: rates") :]).replace("in: cost", "in: coast").replace("end: cost", "end: coast")
    page.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        write_page(page, tmp_path / "results")
    for words in ("no block cost", "block coast: nothing is called so", "block rates stands there twice"):
        assert words in str(error.value)
    assert page.read_text(encoding="utf-8") == text


def test_the_interval_pairs_images_and_spreads_over_seeds():
    rng = np.random.default_rng(3)
    difficulty = rng.uniform(0, 1, 200)
    one, other = difficulty + 0.01 + 0.02 * rng.standard_normal(200), difficulty + 0.02 * rng.standard_normal(200)
    found = paired_difference(one[None], other[None])
    assert found.mean == pytest.approx((one - other).mean())
    spread = (one - other).std() / np.sqrt(200)
    assert found.low == pytest.approx(found.mean - 1.96 * spread, abs=0.1 * spread)
    assert found.high == pytest.approx(found.mean + 1.96 * spread, abs=0.1 * spread)
    assert found == paired_difference(one[None], other[None])
    assert found.excludes_zero

    seeds = np.stack([one - 0.03, one, one + 0.03])  # trainings that differ more than the images do
    over_seeds = paired_difference(seeds, other[None])
    assert over_seeds.mean == pytest.approx(found.mean)
    assert over_seeds.low < -0.01 < 0.03 < over_seeds.high
    assert not over_seeds.excludes_zero


def test_the_page_of_this_checkout_is_what_its_results_say():
    page = DOCS / "results.md"
    assert page_text(page, DOCS / "results") == page.read_text(encoding="utf-8"), "run python -m scripts.results.page"


def test_the_first_numbers_of_the_readme_are_those_of_the_results():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    starts = {"run": "RUN, K = 4", "run-closing_step": "the same trainings", "fpn_ds": "its twin", "fpn_ds_x1.5": "that twin"}
    starts |= {name: f"`{name}`" for name in ("fpn", "fpn_wide", "unet")}
    scored = grouped([one for one in read_results(DOCS / "results").runs if one.key[:3] == ("CAMO", "test", 224)])["CAMO", 224]
    for name, start in starts.items():
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {start}")]
        seeds, means = len(scored[name].seeds), [f"{np.mean(scored[name].means(measure)):.4f}" for measure in SHOWN]
        assert [cell.strip() for cell in row.split("|")[2:7]] == [str(seeds), *means]
