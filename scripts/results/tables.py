"""The tables of docs/results.md: what each one asks of the stored results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from statistics import mean

import numpy as np
import pandas as pd

from scripts.results.archive import EVALUATION, PROTOCOL, SCORED, TASKS, Results
from scripts.results.networks import (
    CONTROL,
    DIGITS,
    INTERVAL,
    OURS,
    SHOWN,
    WITHOUT_CLOSING,
    Networks,
    commits,
    cost,
    difference_cells,
    difference_header,
    difference_row,
    images,
    networks,
    ranked_scores,
    score_row,
    signed,
    spread,
)
from scripts.results.paired import paired_differences
from src.report.statistics import RESAMPLES, SEED
from src.report.tables.columns import heading, number, ranks
from src.report.tables.scores import PROTOCOLS
from src.report.tables.table import Cell, Head, Table

ALL = ("s_alpha", "e_mean", "f_weighted", "f_adp", "mae", "iou")
NO_UNFOLDING = f"{OURS}-coupling"
"""RUN's network with its stages cut off from one another: an ablation of its own, beside `CONTROL`."""
STAGES = {"run+stages_1": 1, "run+stages_2": 2, "run+stages_3": 3, OURS: 4, "run+stages_5": 5, "run+stages_6": 6}
SPLIT_NAMES = {"test": "test", "holdout": "hold-out"}


def main_tables(results: Results) -> list[Table]:
    """Every network on every test set, and what it scored on the hold-out that selected it."""
    holdout = networks(results, "holdout")
    tables = []
    for (dataset, size), models in networks(results, "test").items():
        header = [Head("model", is_number=False), Head("seeds"), *map(Head, map(heading, ALL))]
        header += [Head("hold-out S_α ↑"), Head("params (M)"), Head("GMACs")]
        scores, rows = ranked_scores(models, ALL), []
        for label, one in models.items():
            chosen = holdout.get((dataset, size), {}).get(label)
            selected = Cell(spread(chosen.means("s_alpha") if chosen else []))
            rows.append([Cell(f"`{label}`"), Cell(str(one.seeds)), *scores[label], selected, *cost(results, one)])
        notes = [
            f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.",
            "Mean over seeds ± standard deviation (one seed: none); best bold, second underlined, ranked as printed.",
            commits(models),
        ]
        tables.append(Table(f"{dataset}-Test, input {size} × {size} px", header, rows, notes))
    return tables


def difference_tables(results: Results) -> list[Table]:
    """RUN against every rival on the test sets."""
    tables = []
    holdout = networks(results, "holdout")
    for (dataset, size), models in networks(results, "test").items():
        rivals = {label: one for label, one in models.items() if not one.name.startswith(OURS)}
        if OURS not in models or not rivals:
            continue
        selected = {label: mean(one.means("s_alpha")) for label, one in holdout.get((dataset, size), {}).items() if label in rivals}
        best = max(selected, key=lambda label: selected[label], default=None)
        rows = [
            difference_row(models[ours], one, title=f"`{ours}` − `{label}`" + " (best rival)" * (label == best))
            for ours in (OURS, WITHOUT_CLOSING)
            if ours in models
            for label, one in rivals.items()
        ]
        notes = [f"{images(models)}. {INTERVAL}"]
        notes += [f"Best rival: the highest mean S_α on the hold-out, `{best}`."] if best else []
        notes += [f"`{WITHOUT_CLOSING}`: the same trainings, the final mask M_K: as sharp as its rivals."] * (WITHOUT_CLOSING in models)
        tables.append(Table(f"{dataset}-Test at {size} px: RUN minus its rivals", difference_header(), rows, notes))
    return tables


def sharpness_tables(results: Results) -> list[Table]:
    """Closing step versus scaled logits: every network at scale 1, 1.5 and 2, and the difference to RUN."""
    tables, measures = [], (*SHOWN, "iou")
    for split, named in (("test", "Test"), ("holdout", "hold-out")):
        for (dataset, size), found in networks(results, split, scaled=True).items():
            scaled = {one.name for one in found.values() if one.variant.sharpness != 1}
            models = {label: one for label, one in found.items() if scaled and one.name in {*scaled, OURS}}
            if not models:
                continue
            place, scores = f"{dataset}, {named}, {size} px", ranked_scores(models, measures)
            header = [Head("network", is_number=False), Head("logits ×"), *map(Head, map(heading, measures))]
            rows = [
                [Cell(f"`{one.name}{one.variant._replace(sharpness=1).suffix}`"), Cell(f"{one.variant.sharpness:g}"), *scores[label]]
                for label, one in models.items()
            ]
            notes = [f"{images(models)}. Mean over seeds ± standard deviation; best bold, second underlined."]
            tables.append(Table(f"{place}: sharper masks", header, rows, notes))
            pairs = [(ours, label) for label, one in models.items() if (ours := _with_unfolding(one.name)) in models and ours != label]
            rows = [difference_row(models[ours], models[label], measures) for ours, label in pairs]
            notes = [f"{images(models)}. {INTERVAL}"]
            tables += [Table(f"{place}: RUN minus sharper masks", difference_header(measures), rows, notes)] if rows else []
    return tables


def _with_unfolding(name: str) -> str:
    """The RUN that a network is compared with: of the same levels where it is named by them.

    >>> _with_unfolding("fpn_ds"), _with_unfolding("run-coupling+levels_4"), _with_unfolding("run+levels_4")
    ('run', 'run+levels_4', 'run+levels_4')
    """
    name = name.replace(NO_UNFOLDING, OURS, 1)
    return name if name.startswith(f"{OURS}+") else OURS


def round_tables(results: Results) -> list[Table]:
    """The same in two rounds, and what the second round adds to each network."""
    twice = results._replace(images=results.images[results.images["rounds"] == 2].assign(rounds=1))
    of_one = "Parameters and GMACs: of one look."
    tables = [replace(table, title=f"{table.title}, two rounds", notes=[*table.notes, of_one]) for table in main_tables(twice)]
    tables += [replace(table, title=f"{table.title}, two rounds") for table in difference_tables(twice)]
    gains = results._replace(images=_round_gains(results.images))
    header = [Head("network", is_number=False), *difference_header()[1:]]
    for split, named in SPLIT_NAMES.items():
        for (dataset, size), models in networks(gains, split).items():
            rows = []
            for label, one in models.items():
                found = one.values(SHOWN)
                differences = paired_differences(found, np.zeros_like(found[:, :1]))
                rows.append([Cell(f"`{label}`"), Cell(str(one.seeds)), *difference_cells(differences)])
            notes = [
                f"{images(models)}. The second round minus the first of the same trainings. Interval: 95 %, percentile bootstrap over "
                f"images and seeds, {RESAMPLES} resamples, seed {SEED}; in bold where it leaves out 0."
            ]
            tables.append(Table(f"{dataset}, {named}, {size} px: what the second round adds", header, rows, notes))
    return tables


def _round_gains(rows: pd.DataFrame) -> pd.DataFrame:
    """Second round minus first, of the trainings that were evaluated in both ways, as rows of `Results.images`."""
    keys = [*(column for column in EVALUATION if column != "rounds"), "image"]
    once, twice = (rows[rows["rounds"] == rounds].set_index(keys)[[*SHOWN]] for rounds in (1, 2))
    return (twice - once).dropna().reset_index().assign(rounds=1)


def stage_tables(results: Results) -> list[Table]:
    """M_0 … M_K and M̂_{K+1} of RUN beside the control's: levels and loss weights rise in both, so only the difference counts."""
    return [
        _stage_table(f"{dataset}, {named}, {size} px: stage by stage", models)
        for split, named in SPLIT_NAMES.items()
        for (dataset, size), models in compared_stages(results, split).items()
    ]


def compared_stages(results: Results, split: str) -> dict[tuple[str, int], dict[str, pd.DataFrame]]:
    """(data set, size) → RUN and, where it was trained too, the control → its rows of `Results.stages`."""
    stages = results.stages[(results.stages["split"] == split) & ~results.stages["dataset"].isin(TASKS)]
    groups = {place: dict(iter(rows.groupby("network"))) for place, rows in stages.groupby(["dataset", "size"])}
    return {place: {name: models[name] for name in (OURS, CONTROL) if name in models} for place, models in groups.items() if OURS in models}


def _stage_table(title: str, models: Mapping[str, pd.DataFrame]) -> Table:
    maps = models[OURS]["map"].unique()
    means = [rows.groupby("map")[[*SHOWN, "gain"]].agg(lambda values: values.mean(skipna=False)).reindex(maps) for rows in models.values()]
    is_pair, has_gain = len(means) == 2, bool(means[0]["gain"].notna().any())
    header = [Head("map", is_number=False), *(Head(f"{name}: {heading(measure)}") for name in models for measure in SHOWN)]
    header += [Head(f"S_α: {OURS} − {CONTROL}")] * is_pair + [Head("gain of the mask step")] * has_gain
    rows = []
    for name in maps:
        row = [Cell(name), *(Cell(number(values.loc[name, measure], DIGITS)) for values in means for measure in SHOWN)]
        row += [Cell(signed(means[0].loc[name, "s_alpha"] - means[1].loc[name, "s_alpha"]))] if is_pair else []
        rows.append([*row, *([Cell(signed(means[0].loc[name, "gain"]))] * has_gain)])
    gain = "Gain of the mask step: mean|M_{k−1} − G| − mean|M̂_k − G| on the hold-out, at the best checkpoint's epoch."
    return Table(title, header, rows, ["Means over seeds and images.", *([gain] * has_gain)])


def start_tables(results: Results) -> list[Table]:
    """What the stages make of another start, one table per network."""
    return [start_table(rows) for _, rows in results.starts.groupby(SCORED)]


def start_table(rows: pd.DataFrame) -> Table:
    """S_α and MAE of every stage mask, one row per start, from one network's rows of the table `starts`."""
    maps, measures = rows["map"].unique(), ("s_alpha", "mae")
    header = [Head("M_0 is", is_number=False), *(Head(f"{name}: {heading(measure)}") for measure in measures for name in maps)]
    scores = rows.set_index(["start", "map"])
    cells = [
        [Cell(start), *(Cell(number(scores.loc[(start, name), measure], 3)) for measure in measures for name in maps)]
        for start in rows["start"].unique()
    ]
    notes = ["Means over the images of the hold-out. Starts go in at the resolution of the unfolding, between 0.01 and 0.99."]
    return Table(f"{_network_of(rows)}: the stages from other starts", header, cells, notes)


def gain_tables(results: Results) -> list[Table]:
    """What each part of the mask step gains, one table per network."""
    return [gain_table(rows) for _, rows in results.gains.groupby(SCORED)]


def gain_table(rows: pd.DataFrame) -> Table:
    """One row per part, one column per mask step, from one network's rows of the table `gains`."""
    header = [Head("a step of", is_number=False), *(Head(f"M̂_{k}") for k in rows["step"].unique())]
    cells = [[Cell(part), *(Cell(signed(gain)) for gain in own["gain"])] for part, own in rows.groupby("part", sort=False)]
    notes = [
        "mean|M_{k−1} − G| − mean|M̂_k − G| over the images of the hold-out, at the resolution of the unfolding, where M̂_k is M_{k−1} and"
        " these parts of the step alone."
    ]
    return Table(f"{_network_of(rows)}: what the parts of the mask step gain", header, cells, notes)


def _network_of(rows: pd.DataFrame) -> str:
    return "{dataset}, {size} px, `{network}`, seed {seed}".format(**rows.iloc[0])


def unfolding_tables(results: Results) -> list[Table]:
    """Where RUN's few numbers start and end, and the gains of its mask steps at the end."""
    tables = []
    for (dataset, size), rows in unfolding_epochs(results).groupby(["dataset", "size"]):
        seeds = rows["seed"].nunique()
        cells = []
        for name, own in rows[rows["name"].str.startswith(("unfolding/", "val/gain_"))].groupby("name", sort=False):
            ends = own.sort_values("epoch").groupby("seed")["value"].agg(["first", "last"])
            if len(ends) == seeds:
                cells.append([Cell(_symbol(name)), *(Cell(spread(ends[end].tolist())) for end in ends)])
        header = [Head("number", is_number=False), Head("after the first epoch"), Head("after the last")]
        notes = [f"Mean over {seeds} seed{'s'[: seeds > 1]} ± standard deviation. The gains are those of the hold-out."]
        tables += [Table(f"{dataset}, {size} px: the unfolding's own numbers", header, cells, notes)] if cells else []
    return tables


def unfolding_epochs(results: Results) -> pd.DataFrame:
    """What RUN logged in its trainings on concealed objects."""
    epochs = results.epochs
    return epochs[(epochs["network"] == OURS) & ~epochs["dataset"].isin(TASKS)]


def _symbol(name: str) -> str:
    """A logged name as it is written: `unfolding/gamma_0` → γ of stage 1, `unfolding/mu_0` → μ (shared by the stages or of the first)."""
    kind, _, index = name.rpartition("/")[2].rpartition("_")
    if kind == "gain":
        return f"gain of mask step {index}"
    symbol = {"mu": "μ", "lambda": "λ", "alpha": "α", "gamma": "γ"}.get(kind, kind)
    return f"{symbol} of stage {int(index) + 1}" if kind == "gamma" or index != "0" else symbol


def part_tables(results: Results) -> list[Table]:
    """What each part of RUN is worth, and the number of stages, on the hold-out."""
    tables = []
    for (dataset, size), models in networks(results, "holdout").items():
        if OURS in models:
            place = f"{dataset} hold-out at {size} px"
            tables += [*_part_table(place, models), *_whole_unfolding_table(place, models), *_stage_count_table(place, models, results)]
    return tables


def _part_table(place: str, models: Networks) -> list[Table]:
    ours = models[OURS]
    variants = [one for label, one in models.items() if one.name.startswith(OURS) and label != OURS]
    rows = [difference_row(one, ours, title=f"`{one.label}`") for one in variants]
    notes = [
        f"{images(models)}. First row: the scores; the others: the variant minus `{OURS}` (a minus in S_α speaks for RUN).",
        "`run-X`: without X (`ablation=no_X`; `…-closing_step`: a reading of the same training); `run+X`: `ablation=X`; `run_paper`: "
        "the letter of the paper.",
        INTERVAL,
        "With one seed each, bold is a reason for a second seed, no result: two trainings of one network can differ by as much.",
    ]
    return [Table(f"{place}: parts and choices", difference_header(), [score_row(ours), *rows], notes)] if rows else []


def _whole_unfolding_table(place: str, models: Networks) -> list[Table]:
    closed = WITHOUT_CLOSING.removeprefix(OURS)
    pairs = [(_with_unfolding(label) + end, label) for label in models if label.startswith(NO_UNFOLDING) for end in (closed, "")]
    rows = [difference_row(models[on], models[off]) for on, off in pairs if on in models]
    notes = [
        f"{images(models)}. A plus in S_α speaks for the unfolding.",
        f"Like for like: the rows with `{closed}`, a step that sharpens.",
        INTERVAL,
    ]
    return [Table(f"{place}: all of the unfolding", difference_header(), rows, notes)] if rows else []


def _stage_count_table(place: str, models: Networks, results: Results) -> list[Table]:
    if not models.keys() & STAGES.keys() - {OURS}:
        return []
    header = [Head("K"), *difference_header()[1:], Head("params (M)"), Head("GMACs")]
    counted = {stages: models[name] for name, stages in STAGES.items() if name in models}
    rows = [[Cell(str(stages)), *score_row(one)[1:], *cost(results, one)] for stages, one in counted.items()]
    return [Table(f"{place}: number of stages", header, rows, [f"{images(models)}."])]


def task_tables(results: Results) -> list[Table]:
    """Other tasks' test sets by the measures that their literature prints: the networks, RUN minus each, and RUN's M_K minus each rival."""
    tables = []
    for (dataset, size), models in networks(results, "test", tasks=True, scaled=True).items():
        measures = (*TASKS[dataset], "iou", "s_alpha")
        as_soft = [label for label, one in models.items() if not one.name.startswith(OURS) and one.variant.sharpness == 1]
        pairs = [(OURS, label) for label in models if label != OURS] + [(WITHOUT_CLOSING, label) for label in as_soft]
        rows = [score_row(one, measures) for one in models.values()]
        rows += [difference_row(models[ours], models[label], measures) for ours, label in pairs if ours in models]
        inside = " Inside the field of view; means over images, AUC too." if "auc" in measures else ""
        notes = [f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.{inside}"]
        notes += [f"`{WITHOUT_CLOSING}`: the same training, the final mask M_K: as soft as its rivals."] * (WITHOUT_CLOSING in models)
        notes += [INTERVAL, commits(models)]
        tables.append(Table(f"{dataset}, test, input {size} × {size} px", difference_header(measures), rows, notes))
    return tables


def rate_tables(results: Results) -> list[Table]:
    """Models by learning rates: best hold-out S_α of the short runs."""
    tables = []
    for (dataset, size, epochs), runs in results.runs.groupby(["dataset", "size", "epochs"]):
        chosen = runs[runs.groupby("network")["lr"].transform("nunique") > 1]
        rates = sorted(chosen["lr"].unique())
        rows = []
        for model in sorted(chosen["network"].unique(), key=lambda model: (model != OURS, model)):
            own = chosen[chosen["network"] == model]
            values = [own[own["lr"] == lr]["holdout_s_alpha"].tolist() for lr in rates]
            marks = ranks([mean(found) if found else None for found in values], True, DIGITS)
            rows.append([Cell(f"`{model}`"), *map(Cell, map(spread, values), marks)])
        notes = ["Best S_α on the hold-out (validation, at the masks' size) over the epochs; the best rate of each row is taken."]
        header = [Head("model", is_number=False), *(Head(f"lr {lr:g}") for lr in rates)]
        tables += [Table(f"{dataset}, {size} px, {epochs} epochs: learning rates", header, rows, notes)] if rows else []
    return tables


def cost_tables(results: Results) -> list[Table]:
    """Hours of training."""
    runs = results.runs
    if runs.empty:
        return []
    rows = [[*map(str, key), *_counted_hours(own)] for key, own in runs.groupby(["dataset", "size", "epochs"])]
    rows.append(["all", "", "", *_counted_hours(runs)])
    header = [Head("training set", is_number=False), Head("px"), Head("epochs"), Head("trainings"), Head("hours")]
    notes = ["Wall clock of all epochs, validation included, of the trainings on this page."]
    unknown = runs["hours"].isna().sum()
    notes += [f"{unknown} of them left no times."] if unknown else []
    return [Table("Hours", header, [[*map(Cell, row)] for row in rows], notes)]


def _counted_hours(runs: pd.DataFrame) -> tuple[str, str]:
    return str(len(runs)), number(runs["hours"].sum(min_count=1), 2)
