"""The table of prompts: the best fusion is found for each prompt, and differences to it are paired by image."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scripts.results.prompt_table import FUSIONS, OWN, SCORES, prompt_table
from src.utils.errors import UserError

IMAGES = [f"image_{i}" for i in range(30)]
TERM = "term in every stage"


def rows(prompt: str, method: str, s_alpha: float, seed: int = 0, prompted: bool = False) -> pd.DataFrame:
    values = s_alpha + np.linspace(-0.1, 0.1, len(IMAGES))
    about = {"prompt": prompt, "method": method, "prompted": prompted, "seed": seed, "source": f"{prompted}{seed}"}
    return pd.DataFrame({"image": IMAGES, **dict.fromkeys(SCORES, values), "clicks": np.nan}).assign(**about)


def cells(table) -> dict[tuple[str, str], list[str]]:
    return {(row[0].text, row[1].text): [cell.text for cell in row[2:]] for row in table.rows}


def test_the_term_is_compared_with_the_best_fusion_of_each_prompt():
    found = [rows("nothing", OWN, 0.70), rows("box", "sum of logits", 0.75), rows("box", "own × prompt", 0.78)]
    found += [rows("coarse_1", "sum of logits", 0.65)]
    for seed in (0, 1):
        found += [
            rows("box", TERM, 0.79 + 0.02 * seed, seed, True),
            rows("coarse_1", TERM, 0.72, seed, True),
            rows("nothing", OWN, 0.71, seed, True),
        ]
    table = prompt_table(pd.concat(found))
    by_row = cells(table)
    assert by_row["box", TERM][0] == "0.800"
    assert by_row["box", TERM][-1].startswith("+0.0200 [+0.0100, +0.0300]")  # against own × box, over both seeds
    assert by_row["coarse_1", TERM][-1].startswith("+0.0100")  # against the mask of the networks that ignore it
    bold = [(row[0].text, row[1].text) for row in table.rows if row[1].mark == "best"]
    assert ("box", "own × prompt") in bold
    assert ("coarse_1", f"{OWN}, trained with prompts") in bold
    assert "1 trained without prompts, 2 trained with prompts" in table.notes[0]


def test_clicks_are_counted_where_they_were_made():
    found = rows("clicks_5", TERM, 0.8, prompted=True).assign(clicks=4.0)
    by_row = cells(prompt_table(pd.concat([rows("nothing", OWN, 0.7), found])))
    assert by_row["clicks_5", TERM][3] == "4.00"
    assert by_row["clicks_5", OWN][3] == "–"


def test_networks_of_different_images_are_not_paired():
    other = rows("box", TERM, 0.8, seed=1, prompted=True)
    found = [rows("nothing", OWN, 0.7), rows("box", TERM, 0.8, prompted=True), other.assign(image=other["image"] + "x")]
    with pytest.raises(UserError, match="different images"):
        prompt_table(pd.concat(found))


def test_a_table_is_of_one_set():
    found = [rows("nothing", OWN, 0.7), rows("box", TERM, 0.8, prompted=True)]
    assert prompt_table(pd.concat(found)).notes[0].startswith("30 images of the hold-out;")
    named = [one.assign(dataset="CAMO") for one in found]
    assert prompt_table(pd.concat(named)).notes[0].startswith("30 images of CAMO;")
    with pytest.raises(UserError, match="measured on CAMO, CAMO-holdout; make one table of each"):
        prompt_table(pd.concat([*named, *(one.assign(dataset="CAMO-holdout") for one in found)]))
    with pytest.raises(UserError, match="measured on CAMO, the hold-out"):  # a file of before sets were named
        prompt_table(pd.concat([*named, *found]))


def test_fusions_begin_with_the_mask_that_ignores_prompts():
    assert FUSIONS[0] == OWN
