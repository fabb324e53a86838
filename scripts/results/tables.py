"""Tables of the networks' scores, their differences and their cost, made from the stored results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import numpy as np
import pandas as pd

from scripts.results.archive import EVALUATION, PROTOCOL, TASKS, Results
from scripts.results.networks import (
    DIGITS,
    OURS,
    SHOWN,
    WITHOUT_CLOSING,
    commits,
    cost,
    difference_cells,
    difference_row,
    heads,
    images,
    networks,
    ranked_scores,
    score_row,
    spread,
)
from scripts.results.paired import paired_differences
from src.report.statistics import RESAMPLES, SEED
from src.report.tables.columns import number, ranks
from src.report.tables.scores import PROTOCOLS
from src.report.tables.table import Cell, Table

ALL = ("s_alpha", "e_mean", "f_weighted", "f_adp", "mae", "iou")
NO_UNFOLDING = f"{OURS}-coupling"
"""The ablation without unfolding, the control of RUN's variants."""
SPLIT_NAMES = {"test": "test", "holdout": "hold-out"}
INTERVAL = (
    f"Interval: 95 %, percentile bootstrap over images (the same for both networks) and over each network's seeds, "
    f"{RESAMPLES} resamples, seed {SEED}. With one seed it covers new images but not new trainings; "
    "with three it is still somewhat too narrow. Bold: it excludes 0."
)
WITHOUT_CLOSING_NOTE = (
    f"`{WITHOUT_CLOSING}`: the same training, evaluated at M_K; "
    "without the closing step its masks are as soft as those of the rivals."
)


def main_tables(results: Results) -> list[Table]:
    """Return tables of every network's scores on every test set, and on the hold-out that selected its checkpoint."""
    holdout = networks(results, "holdout")
    header = heads("model", "seeds", *ALL, "hold-out S_α ↑", "params (M)", "GMACs")
    tables = []
    for (dataset, size), models in networks(results, "test").items():
        scores, rows = ranked_scores(models, ALL), []
        for label, one in models.items():
            selected = holdout.get((dataset, size), {}).get(label)
            chosen = Cell(spread(selected.means("s_alpha") if selected else []))
            rows.append([*one.cells, *scores[label], chosen, *cost(results, one)])
        notes = [
            f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.",
            "Mean ± standard deviation over seeds (one seed: mean only). Best in bold, second underlined, "
            "ranked as printed.",
            commits(models),
        ]
        tables.append(Table(f"{dataset}-Test, input {size} × {size} px", header, rows, notes))
    return tables


def difference_tables(results: Results) -> list[Table]:
    """Return tables of RUN minus every rival on the test sets."""
    tables = []
    holdout = networks(results, "holdout")
    for place, models in networks(results, "test").items():
        rivals = {label: one for label, one in models.items() if not one.is_ours}
        selected = {
            label: mean(one.means("s_alpha")) for label, one in holdout.get(place, {}).items() if label in rivals
        }
        best = max(selected, key=lambda label: selected[label], default=None)
        rows = [
            difference_row(models[ours], one, ending=" (best rival)" * (label == best))
            for ours in (OURS, WITHOUT_CLOSING)
            if ours in models and OURS in models
            for label, one in rivals.items()
        ]
        notes = [f"{images(models)}. {INTERVAL}"]
        notes += [f"Best rival: `{best}`, which has the highest mean S_α on the hold-out."] if best else []
        notes += [WITHOUT_CLOSING_NOTE] * (WITHOUT_CLOSING in models)
        tables += differences("{}-Test at {} px: RUN minus its rivals".format(*place), rows, notes)
    return tables


def differences(
    title: str, rows: Sequence[Sequence[Cell]], notes: Sequence[str], measures: Sequence[str] = SHOWN
) -> list[Table]:
    """Return a table of rows of differences; no table without rows."""
    return [Table(title, heads("networks", "seeds", *measures), rows, notes)] if rows else []


def sharpness_tables(results: Results) -> list[Table]:
    """Compare the closing step with scaled logits: every network at scale 1, 1.5 and 2, and the difference to RUN."""
    tables, measures = [], (*SHOWN, "iou")
    for split, named in (("test", "Test"), ("holdout", "hold-out")):
        for (dataset, size), found in networks(results, split, scaled=True).items():
            scaled = {one.name for one in found.values() if one.variant.sharpness != 1}
            models = {label: one for label, one in found.items() if scaled and one.name in {*scaled, OURS}}
            if not models:
                continue
            place, scores, count = f"{dataset}, {named}, {size} px", ranked_scores(models, measures), images(models)
            rows = [[*one.unscaled_cells, *scores[label]] for label, one in models.items()]
            notes = [f"{count}. Mean ± standard deviation over seeds. Best in bold, second underlined."]
            tables.append(Table(f"{place}: sharper masks", heads("network", "logits ×", *measures), rows, notes))
            pairs = [(models.get(with_unfolding(one.name)), one) for one in models.values()]
            rows = [difference_row(ours, one, measures) for ours, one in pairs if ours and ours.label != one.label]
            tables += differences(f"{place}: RUN minus sharper masks", rows, [f"{count}. {INTERVAL}"], measures)
    return tables


def with_unfolding(name: str) -> str:
    """Return the name of the RUN that a network is compared with, which has the same levels.

    >>> with_unfolding("fpn_ds"), with_unfolding("run-coupling+levels_4"), with_unfolding("run+levels_4")
    ('run', 'run+levels_4', 'run+levels_4')
    """
    name = name.replace(NO_UNFOLDING, OURS, 1)
    return name if name.startswith(f"{OURS}+") else OURS


def round_tables(results: Results) -> list[Table]:
    """Return the main and difference tables for two rounds, and what the second round adds to each network."""
    twice = results._replace(images=results.images[results.images["rounds"] == 2].assign(rounds=1))
    of_one = "Parameters and GMACs: for one round."
    tables = [
        replace(table, title=f"{table.title}, two rounds", notes=[*table.notes, of_one]) for table in main_tables(twice)
    ]
    tables += [replace(table, title=f"{table.title}, two rounds") for table in difference_tables(twice)]
    gains = results._replace(images=_round_gains(results.images))
    for split, named in SPLIT_NAMES.items():
        for (dataset, size), models in networks(gains, split).items():
            values = {label: one.values(SHOWN) for label, one in models.items()}
            added = {label: paired_differences(found, np.zeros_like(found[:, :1])) for label, found in values.items()}
            rows = [[*one.cells, *difference_cells(added[label])] for label, one in models.items()]
            notes = [
                f"{images(models)}. The second round minus the first of the same trainings. Interval: 95 %, percentile "
                f"bootstrap over images and seeds, {RESAMPLES} resamples, seed {SEED}. Bold: it excludes 0."
            ]
            title = f"{dataset}, {named}, {size} px: what the second round adds"
            tables.append(Table(title, heads("network", "seeds", *SHOWN), rows, notes))
    return tables


def _round_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Return second round minus first for trainings that were evaluated in both, as rows of `Results.images`."""
    keys = [*(column for column in EVALUATION if column != "rounds"), "image"]
    once, twice = (rows[rows["rounds"] == rounds].set_index(keys)[[*SHOWN]] for rounds in (1, 2))
    return (twice - once).dropna().reset_index().assign(rounds=1)


def task_tables(results: Results) -> list[Table]:
    """Return the scores on other tasks' test sets, by the measures of their literature.

    One table per set: the networks, RUN minus each, and RUN's M_K minus each rival.
    """
    tables = []
    for (dataset, size), models in networks(results, "test", tasks=True, scaled=True).items():
        measures = (*TASKS[dataset], "iou", "s_alpha")
        as_soft = [label for label, one in models.items() if not one.is_ours and one.variant.sharpness == 1]
        pairs = [(OURS, label) for label in models if label != OURS] + [(WITHOUT_CLOSING, label) for label in as_soft]
        rows = [score_row(one, measures) for one in models.values()]
        rows += [difference_row(models[ours], models[label], measures) for ours, label in pairs if ours in models]
        inside = " Only pixels in the field of view; means over images, AUC too." if "auc" in measures else ""
        notes = [f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.{inside}"]
        notes += [WITHOUT_CLOSING_NOTE] * (WITHOUT_CLOSING in models)
        notes += [INTERVAL, commits(models)]
        tables += differences(f"{dataset}, test, input {size} × {size} px", rows, notes, measures)
    return tables


def rate_tables(results: Results) -> list[Table]:
    """Return the best hold-out S_α of the short runs, one row per model, one column per learning rate."""
    tables = []
    for (dataset, size, epochs), runs in results.runs.groupby(["dataset", "size", "epochs"]):
        chosen = runs[runs.groupby("network")["lr"].transform("nunique") > 1]
        rates, rows = sorted(chosen["lr"].unique()), []
        for model in sorted(chosen["network"].unique(), key=lambda model: (model != OURS, model)):
            own = chosen[chosen["network"] == model]
            values = [own[own["lr"] == lr]["holdout_s_alpha"].tolist() for lr in rates]
            marks = ranks([mean(found) if found else None for found in values], True, DIGITS)
            rows.append([Cell(f"`{model}`"), *map(Cell, map(spread, values), marks)])
        notes = [
            "S_α on the hold-out at the best epoch (validation, at the masks' size). "
            "Each network is trained with the best rate of its row."
        ]
        header = heads("model", *(f"lr {lr:g}" for lr in rates))
        tables += [Table(f"{dataset}, {size} px, {epochs} epochs: learning rates", header, rows, notes)] if rows else []
    return tables


def cost_tables(results: Results) -> list[Table]:
    """Return the hours of training, by data set, size and number of epochs."""
    runs = results.runs
    if runs.empty:
        return []
    groups = [*runs.groupby(["dataset", "size", "epochs"]), (("all", "", ""), runs)]
    rows = [
        [Cell(str(text)) for text in (*key, len(own), number(own["hours"].sum(min_count=1), 2))] for key, own in groups
    ]
    notes = ["Wall-clock time of all epochs, without validation, over all trainings behind these results."]
    unknown = runs["hours"].isna().sum()
    notes += [f"{unknown} of the trainings recorded no times."] if unknown else []
    return [Table("Hours", heads("training set", "px", "epochs", "trainings", "hours"), rows, notes)]
