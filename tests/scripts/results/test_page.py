"""The pages in docs/results show what is stored: known numbers from fake runs, kept text, this checkout's pages."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.results.archive import read_results
from scripts.results.mechanism_tables import _symbol
from scripts.results.networks import SHOWN, grouped
from scripts.results.page import BLOCKS, NOTHING, SHORT, page_texts, write_pages
from scripts.results.paired import paired_differences
from scripts.results.store import store, store_run
from src.utils.errors import UserError
from tests.fixtures.fake_runs import write_evaluation, write_run
from tests.fixtures.tiny import ROOT

DOCS = ROOT / "docs"
RUN = (0.70, 0.80, 0.60, 0.90)


def page_with(*names: str) -> str:
    """A page with these blocks and text around them."""
    blocks = (
        f"words before {name}\n<!-- begin: {name} -->\nold\n<!-- end: {name} -->\nwords after {name}" for name in names
    )
    return "# Ours\n\n" + "\n".join(blocks)


PAGE = page_with(*BLOCKS)


STORED = {"dataset": "CAMO", "split": "holdout", "size": 224, "network": "run", "seed": 0, "commit": "abc1234"}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """RUN's two seeds are 0.02 and 0.04 above the control on every image; K = 1 is 0.1 below on the hold-out."""
    folder = tmp_path_factory.mktemp("stored")
    control = tuple(value - 0.03 for value in RUN)
    for seed, shift in enumerate((-0.01, 0.01)):
        values = tuple(value + shift for value in RUN)
        run = write_run(folder / f"run{seed}", {"test": values, "holdout": values}, (0.5, 0.75 + shift), seed)
        store_run(run, "run", folder / "results")
    store_run(
        write_run(folder / "control", {"test": control, "holdout": control}, (0.5, 0.72)), "fpn_ds", folder / "results"
    )
    below = {"run+stages_1": [value - 0.1 for value in RUN], "run-robe": [value - 0.05 for value in RUN]}
    for name, values in (below | {"run+levels_4": [0.73] * 4, "run-coupling+levels_4": [0.71] * 4}).items():
        store_run(write_run(folder / name, {"holdout": values}), name, folder / "results")
    for lr in (2e-4, 5e-4):
        store_run(write_run(folder / f"{lr}", {}, lr=lr, epochs=4), "run", folder / "results")
    return folder / "results"


def _with_page(stored: Path, folder: Path) -> tuple[Path, Path]:
    shutil.copytree(stored, folder / "results")
    return folder / "results", with_pages(folder / "results")


def with_pages(results: Path) -> Path:
    """One page with all blocks, and one with the short ones in a folder below; returns the first."""
    page, short = results / "index.md", results / "short" / "index.md"
    short.parent.mkdir(parents=True)
    page.write_text(PAGE, encoding="utf-8")
    short.write_text(page_with(*SHORT), encoding="utf-8")
    return page


def page_text(page: Path, results: Path) -> str:
    """What would be written into the page."""
    return page_texts(page.parent, results)[page]


@pytest.fixture
def made(stored, tmp_path) -> tuple[Path, Path]:
    """Results of one's own, and a page."""
    return _with_page(stored, tmp_path)


@pytest.fixture(scope="module")
def written(stored, tmp_path_factory) -> tuple[Path, Path]:
    """Results and the page that was made of them; not to be changed."""
    results, page = _with_page(stored, tmp_path_factory.mktemp("written"))
    texts = write_pages(page.parent, results)
    assert texts == {path: path.read_text(encoding="utf-8") for path in texts}
    assert len(texts) == 2
    return results, page


def block(text: str, name: str) -> str:
    return text[text.index(f"<!-- begin: {name} -->") : text.index(f"<!-- end: {name} -->")]


@pytest.mark.slow
def test_the_page_has_the_means_differences_and_words(written):
    results, page = written
    text = page.read_text(encoding="utf-8")
    assert text == page_text(page, results)
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
    for model, values in (("run", RUN), ("fpn_ds", tuple(value - 0.02 for value in RUN))):
        run = write_run(tmp_path / f"drive_{model}", {"test": values}, commit="def5678", dataset="DRIVE")
        with pytest.raises(UserError, match="lacks auc of DRIVE"):
            store_run(run, model, results)
        shutil.rmtree(run / "test")
        write_evaluation(run / "test", values, dataset="DRIVE", extra={"auc": [0.75] * 4})
        if model == "run":
            write_evaluation(run / "open", values, dataset="DRIVE", extra={"auc": [0.75] * 4}, closing_step=False)
        store_run(run, model, results)
    text = page_text(page, results)
    tasks = block(text, "tasks")
    assert "| networks | seeds | SE ↑ | SP ↑ | ACC ↑ | AUC ↑ | IoU@0.5 ↑ | S_α ↑ |" in tasks
    assert "| `run` | 1 | 0.5000 | 0.5000 | 0.5000 | 0.7500 | 0.5000 | 0.7500 |" in tasks
    assert "| +0.0000 [+0.0000, +0.0000] | **+0.0200 [+0.0200, +0.0200]** |" in tasks
    assert tasks.count("| `run-closing_step` − `fpn_ds` | 1 / 1 |") == 1  # as soft as the control
    assert "DRIVE" not in text[: text.index("<!-- begin: tasks -->")]


def test_two_rounds_have_tables_of_their_own(made, tmp_path):
    results, page = made
    before = page_text(page, results)
    for model, shift in (("run", 0.05), ("fpn_ds", 0.0)):
        run = write_run(tmp_path / f"again_{model}", {})
        write_evaluation(run / "test_rounds2", tuple(value + shift for value in RUN), rounds=2)
        store_run(run, model, results, replace=True)
    text = page_text(page, results)
    rounds = block(text, "rounds")
    assert "### CAMO-Test, input 224 × 224 px, two rounds" in rounds
    assert "| `run` | 1 | **0.8000** |" in rounds
    assert "| `run` − `fpn_ds` | 1 / 1 | **+0.0500 [+0.0500, +0.0500]** |" in rounds
    assert "### CAMO, test, 224 px: what the second round adds" in rounds
    assert "| `run` | 1 | **+0.0600 [+0.0600, +0.0600]** |" in rounds  # 0.80 minus 0.74, seed 0's first round
    assert "| `fpn_ds` | 1 | **+0.0300 [+0.0300, +0.0300]** |" in rounds
    for name in ("scores", "differences", "stages", "parts"):
        assert block(before, name) == block(text, name), name


def test_evaluation_variants_are_of_the_same_training(made, tmp_path):
    results, page = made
    run = write_run(tmp_path / "again", {"test": RUN}, (0.5, 0.74))
    write_evaluation(run / "test-closing_step", tuple(value - 0.02 for value in RUN), closing_step=False)
    write_evaluation(
        run / "test-closing_step_x2", tuple(value - 0.01 for value in RUN), closing_step=False, sharpness=2
    )
    store_run(run, "run", results, replace=True)
    text = page_text(page, results)
    scores, sharpness = block(text, "scores"), block(text, "sharpness")
    assert "| `run-closing_step` | 1 | <ins>0.7300</ins> |" in scores
    assert "| `run-closing_step` | 2 | <ins>0.7400</ins> |" in sharpness
    assert "| `run` − `run-closing_step_x2` | 2 / 1 | **+0.0150" in sharpness
    assert "_x2" not in scores


def test_other_starts_have_a_table_a_network(made):
    results, page = made
    starts = {"its own": {"s_alpha": 0.7, "mae": 0.2}, "the truth": {"s_alpha": 1.0, "mae": 0.0}}
    store(
        {"starts": pd.DataFrame(STORED | {"start": start, "map": "M_0"} | scores for start, scores in starts.items())},
        results,
    )
    text = page_text(page, results)
    assert "### CAMO, 224 px, `run`, seed 0: the stages from other starts" in text
    assert text.index("| its own | 0.700 | 0.200 |") < text.index("| the truth | 1.000 | 0.000 |")


def test_gains_of_the_parts_have_a_table_a_network(made):
    results, page = made
    gains = {"the step": (0.0066, -0.01), "(c) ∇S": (0.001, 0.0)}
    rows = [
        STORED | {"part": part, "step": k, "gain": gain}
        for part, own in gains.items()
        for k, gain in enumerate(own, start=1)
    ]
    store({"gains": pd.DataFrame(rows)}, results)
    text = page_text(page, results)
    assert "### CAMO, 224 px, `run`, seed 0: what the parts of the mask step gain" in text
    assert "| part of the step | M̂_1 | M̂_2 |" in text
    assert "| the step | +0.0066 | −0.0100 |" in text


def test_a_short_block_has_the_chosen_rows_in_its_order(written):
    """Short tables have no ranks, because ranks were given among all rows, and only the first notes."""
    results, _ = written
    text = (results / "short" / "index.md").read_text(encoding="utf-8")
    parts = block(text, "parts-short")
    assert [line.split("|")[1].strip() for line in parts.splitlines() if line.startswith("| `")] == [
        "`run`",
        "`run-robe`",
        "`run+levels_4`",
    ]
    assert "| `run-robe` | 1 / 2 | **−0.0500 [−0.0600, −0.0400]** |" in parts
    assert "+stages_1" not in text
    assert NOTHING in block(text, "tasks-short")


@pytest.mark.slow
def test_writing_again_changes_no_byte(written):
    results, page = written
    before = {path: path.read_bytes() for path in (page, *results.glob("*.png"))}
    write_pages(page.parent, results)
    assert {path: path.read_bytes() for path in before} == before
    assert len(before) == 4


@pytest.mark.slow
def test_trainings_by_the_recipe_have_tables_of_their_own(tmp_path):
    scores = {"run": 0.5, "run_best": 0.75, "fpn_best": 0.625, "fpn_best-ema": 0.5, "fpn_best-ema+epochs": 0.875}
    for name, value in scores.items():
        values = dict.fromkeys(("test", "holdout") if name.endswith(("run", "best")) else ("holdout",), [value] * 4)
        store_run(write_run(tmp_path / name, values), name, tmp_path / "results")
    page = with_pages(tmp_path)
    text = write_pages(tmp_path, tmp_path / "results")[page]
    assert "0.5000" in block(text, "scores")
    assert "0.7500" not in block(text, "scores")
    assert "| `run` | 1 | **0.7500** |" in block(text, "best-scores")
    assert "| `run` − `fpn` (best rival) | 1 / 1 | **+0.1250" in block(text, "best-differences")
    choices = block(text, "best-choices")
    assert "| `fpn` | 1 | 0.6250" in choices
    assert "| `fpn-ema` − `fpn` | 1 / 1 | **−0.1250" in choices
    assert "| `fpn-ema+epochs` − `fpn-ema` | 1 / 1 | **+0.3750" in choices
    assert "`run`" not in choices
    assert "_best" not in text


def test_trainings_with_prompts_are_compared_with_those_without(tmp_path):
    for name, value in (("run_full", 0.5), ("run_full+prompts", 0.75), ("fpn+prompts", 0.75)):
        store_run(write_run(tmp_path / name, {"holdout": [value] * 4}), name, tmp_path / "results")
    page = with_pages(tmp_path)
    text = block(write_pages(tmp_path, tmp_path / "results")[page], "prompting")
    assert "| `run_full+prompts` − `run_full` | 1 / 1 | **+0.2500" in text
    assert text.count("1 / 1") == 1


def test_without_results_the_page_says_so(tmp_path):
    page = with_pages(tmp_path)
    texts = write_pages(tmp_path, tmp_path / "results")
    assert texts[page].count(NOTHING) == len(BLOCKS)
    assert "".join(texts.values()).count(NOTHING) == len(BLOCKS) + len(SHORT)


def test_a_page_with_other_markers_is_not_touched(tmp_path):
    page = with_pages(tmp_path)
    text = (
        (PAGE + PAGE[PAGE.index("<!-- begin: rates") :])
        .replace("in: cost", "in: coast")
        .replace("end: cost", "end: coast")
    )
    page.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as error:
        write_pages(tmp_path, tmp_path / "results")
    for words in ("no block cost", "block coast: no such block", "block rates occurs twice"):
        assert words in str(error.value)
    assert page.read_text(encoding="utf-8") == text


def test_the_interval_pairs_images_and_spreads_over_seeds():
    rng = np.random.default_rng(3)
    difficulty = rng.uniform(0, 1, 200)
    one, other = difficulty + 0.01 + 0.02 * rng.standard_normal(200), difficulty + 0.02 * rng.standard_normal(200)
    (found,) = paired_differences(one[None, None], other[None, None])
    assert found.mean == pytest.approx((one - other).mean())
    spread = (one - other).std() / np.sqrt(200)
    assert found.low == pytest.approx(found.mean - 1.96 * spread, abs=0.1 * spread)
    assert found.high == pytest.approx(found.mean + 1.96 * spread, abs=0.1 * spread)
    assert found.excludes_zero

    seeds = np.stack([one - 0.03, one, one + 0.03])  # trainings that differ more than the images do
    (over_seeds,) = paired_differences(seeds[None], other[None, None])
    assert over_seeds.mean == pytest.approx(found.mean)
    assert over_seeds.low < -0.01 < 0.03 < over_seeds.high
    assert not over_seeds.excludes_zero


def test_every_measure_is_resampled_in_the_same_way():
    ours, theirs = np.random.default_rng(0).uniform(0, 1, (2, 3, 2, 40))
    together = paired_differences(ours, theirs)
    alone = [paired_differences(ours[i : i + 1], theirs[i : i + 1])[0] for i in range(3)]
    assert np.array(together) == pytest.approx(np.array(alone), abs=1e-12)
    with pytest.raises(ValueError, match="40 and 39 images cannot be paired"):
        paired_differences(ours, theirs[..., 1:])


@pytest.mark.slow
def test_the_pages_of_this_checkout_are_what_its_results_say():
    texts = page_texts(DOCS / "results", DOCS / "results")
    assert texts == {page: page.read_text(encoding="utf-8") for page in texts}, "run python -m scripts.results.page"


def test_the_first_numbers_of_the_readme_are_those_of_the_results():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    starts = {
        "run": "RUN |",
        "run-closing_step": "RUN without its closing step",
        "fpn_ds": "no-unfolding control",
        "fpn": "feature pyramid",
    }
    images = read_results(DOCS / "results").images
    scored = grouped(images[(images["dataset"] == "CAMO") & (images["split"] == "test") & (images["size"] == 224)])[
        "CAMO", 224
    ]
    for name, start in starts.items():
        (row,) = [line for line in readme.splitlines() if line.startswith(f"| {start}")]
        means = [f"{np.mean(scored[name].means(measure)):.4f}" for measure in SHOWN]
        assert [cell.strip() for cell in row.split("|")[2:6]] == means
        assert scored[name].seeds == 3


def test_learned_numbers_have_symbols():
    names = ("unfolding/nu", "unfolding/mu_0", "unfolding/mu_2", "unfolding/gamma_0", "val/gain_3")
    assert [_symbol(name) for name in names] == ["ν", "μ", "μ of stage 3", "γ of stage 1", "gain of mask step 3"]
