"""The tables of the pages in docs/results, made from the stored results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

import numpy as np
import pandas as pd

from scripts.results.archive import EVALUATION, PROTOCOL, SCORED, TASKS, Results
from scripts.results.networks import (
    CONTROL,
    DIGITS,
    OURS,
    SHOWN,
    WITHOUT_CLOSING,
    Networks,
    commits,
    cost,
    difference_cells,
    difference_row,
    heads,
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
from src.report.tables.table import Cell, Table

ALL = ("s_alpha", "e_mean", "f_weighted", "f_adp", "mae", "iou")
NO_UNFOLDING = f"{OURS}-coupling"
"""The ablation without unfolding, the control of RUN's variants."""
STAGES = {"run+stages_1": 1, "run+stages_2": 2, "run+stages_3": 3, OURS: 4, "run+stages_5": 5, "run+stages_6": 6}
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
        tables += _differences("{}-Test at {} px: RUN minus its rivals".format(*place), rows, notes)
    return tables


def _differences(
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
            pairs = [(models.get(_with_unfolding(one.name)), one) for one in models.values()]
            rows = [difference_row(ours, one, measures) for ours, one in pairs if ours and ours.label != one.label]
            tables += _differences(f"{place}: RUN minus sharper masks", rows, [f"{count}. {INTERVAL}"], measures)
    return tables


def _with_unfolding(name: str) -> str:
    """Return the name of the RUN that a network is compared with, which has the same levels.

    >>> _with_unfolding("fpn_ds"), _with_unfolding("run-coupling+levels_4"), _with_unfolding("run+levels_4")
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


def stage_tables(results: Results) -> list[Table]:
    """Return the scores of M_0 … M_K and M̂_{K+1} of RUN beside those of its control.

    In both networks levels get finer and loss weights larger from stage to stage, so only the difference between the
    networks is an effect of the unfolding.
    """
    return [
        _stage_table(f"{dataset}, {named}, {size} px: stage by stage", models)
        for split, named in SPLIT_NAMES.items()
        for (dataset, size), models in compared_stages(results, split).items()
    ]


def compared_stages(results: Results, split: str) -> dict[tuple[str, int], dict[str, pd.DataFrame]]:
    """Return (data set, size) → `run`, and `fpn_ds` if it was trained too → its rows of `Results.stages`."""
    stages = results.stages[(results.stages["split"] == split) & ~results.stages["dataset"].isin(TASKS)]
    groups = {place: dict(iter(rows.groupby("network"))) for place, rows in stages.groupby(["dataset", "size"])}
    return {
        place: {name: models[name] for name in (OURS, CONTROL) if name in models}
        for place, models in groups.items()
        if OURS in models
    }


def _stage_table(title: str, models: Mapping[str, pd.DataFrame]) -> Table:
    maps = models[OURS]["map"].unique()
    means = {
        name: rows.groupby("map").agg(dict.fromkeys((*SHOWN, "gain"), _strict_mean)).reindex(maps)
        for name, rows in models.items()
    }
    columns = {f"{name}: {heading(measure)}": means[name][measure].map(_digits) for name in models for measure in SHOWN}
    if CONTROL in means:
        columns[f"S_α: {OURS} − {CONTROL}"] = (means[OURS]["s_alpha"] - means[CONTROL]["s_alpha"]).map(signed)
    notes = ["Means over seeds and images."]
    if means[OURS]["gain"].notna().any():
        columns["gain of the mask step"] = means[OURS]["gain"].map(signed)
        notes.append(
            "Gain of the mask step: mean|M_{k−1} − G| − mean|M̂_k − G| on the hold-out, at the best checkpoint's epoch."
        )
    return _table(title, "map", pd.DataFrame(columns), notes)


def _strict_mean(values: pd.Series) -> float:
    return float(values.mean(skipna=False))


def _digits(value: float) -> str:
    return number(value, DIGITS)


def _table(title: str, corner: str, texts: pd.DataFrame, notes: Sequence[str]) -> Table:
    """Return a table of texts with the index as the first column."""
    return Table(title, heads(corner, *map(str, texts)), [[*map(Cell, row)] for row in texts.itertuples()], notes)


def start_tables(results: Results) -> list[Table]:
    """Return the stage masks' scores from other starts, one table per network."""
    return [start_table(rows) for _, rows in results.starts.groupby(SCORED)]


def start_table(rows: pd.DataFrame) -> Table:
    """Return S_α and MAE of every stage mask, one row per start, from one network's rows of the table `starts`."""
    scores = {measure: _in_order(rows, "start", "map", measure) for measure in ("s_alpha", "mae")}
    texts = pd.concat([found.add_suffix(f": {heading(name)}") for name, found in scores.items()], axis=1).map(
        number, digits=3
    )
    notes = [
        "Means over the images of the hold-out. "
        "Starting masks have the resolution of the unfolding and are limited to 0.01 … 0.99."
    ]
    return _table(f"{_network_of(rows)}: the stages from other starts", "M_0 is", texts, notes)


def gain_tables(results: Results) -> list[Table]:
    """Return the gains of each part of the mask step, one table per network."""
    return [gain_table(rows) for _, rows in results.gains.groupby(SCORED)]


def gain_table(rows: pd.DataFrame) -> Table:
    """Return the gains, one row per part, one column per mask step, from one network's rows of the table `gains`."""
    notes = [
        "mean|M_{k−1} − G| − mean|M̂_k − G| over the images of the hold-out, at the resolution of the unfolding, "
        "where M̂_k is M_{k−1} plus only these parts of the step."
    ]
    texts = _in_order(rows, "part", "step", "gain").map(signed).add_prefix("M̂_")
    return _table(f"{_network_of(rows)}: what the parts of the mask step gain", "part of the step", texts, notes)


def _in_order(rows: pd.DataFrame, index: str, columns: str, values: str) -> pd.DataFrame:
    """Return `DataFrame.pivot` of the rows, in their order."""
    return rows.pivot(index=index, columns=columns, values=values).loc[rows[index].unique(), rows[columns].unique()]


def _network_of(rows: pd.DataFrame) -> str:
    return "{dataset}, {size} px, `{network}`, seed {seed}".format(**rows.iloc[0])


def unfolding_tables(results: Results) -> list[Table]:
    """Return RUN's learned numbers and the gains of its mask steps after the first and after the last epoch."""
    tables = []
    for (dataset, size), rows in unfolding_epochs(results).groupby(["dataset", "size"]):
        seeds, ends = rows["seed"].nunique(), {}
        for name, own in rows[rows["name"].str.startswith(("unfolding/", "val/gain_"))].groupby("name", sort=False):
            if own["seed"].nunique() == seeds:
                ends[_symbol(name)] = (
                    own.sort_values("epoch").groupby("seed")["value"].agg(["first", "last"]).agg(spread)
                )
        texts = pd.DataFrame(ends).T.rename(columns={"first": "after the first epoch", "last": "after the last"})
        notes = [f"Mean over {seeds} seed{'s'[: seeds > 1]} ± standard deviation. Gains are measured on the hold-out."]
        tables += [_table(f"{dataset}, {size} px: what the unfolding learned", "number", texts, notes)] if ends else []
    return tables


def unfolding_epochs(results: Results) -> pd.DataFrame:
    """Return the values that RUN logged in its trainings on concealed objects."""
    epochs = results.epochs
    return epochs[(epochs["network"] == OURS) & ~epochs["dataset"].isin(TASKS)]


def _symbol(name: str) -> str:
    """Return the printed form of a logged name.

    `unfolding/gamma_0` → γ of stage 1; `unfolding/mu_0` → μ (shared by all stages, or that of stage 1).
    """
    kind, _, index = name.rpartition("/")[2].rpartition("_")
    if kind == "gain":
        return f"gain of mask step {index}"
    symbol = {"mu": "μ", "lambda": "λ", "alpha": "α", "gamma": "γ"}.get(kind, kind)
    return f"{symbol} of stage {int(index) + 1}" if kind == "gamma" or index != "0" else symbol


def part_tables(results: Results) -> list[Table]:
    """Return the effects of RUN's parts and of the number of stages on the hold-out."""
    tables = []
    for place, models in networks(results, "holdout").items():
        if OURS in models:
            title = "{} hold-out at {} px".format(*place)
            tables += [
                *_part_table(title, models),
                *_whole_unfolding_table(title, models),
                *_stage_count_table(title, models, results),
            ]
    return tables


def choice_tables(results: Results) -> list[Table]:
    """Return what the choices of a recipe change on the hold-out.

    Each training is compared with the one whose name its own continues: `fpn-ema+epochs` with `fpn-ema`.
    """
    tables = []
    for place, models in networks(results, "holdout").items():
        bases = {label: _continued(label, models) for label in models}
        compared = [label for label in models if bases[label] or label in bases.values()]
        rows = [
            difference_row(models[label], models[base]) if (base := bases[label]) else score_row(models[label])
            for label in compared
        ]
        notes = [f"{images(models)}. A network's scores; below them, what one more choice changes.", INTERVAL]
        tables += _differences("{} hold-out at {} px: choices".format(*place), rows, notes)
    return tables


def _continued(label: str, models: Networks) -> str | None:
    """Return the longest other label that this one continues with a + or a -; None if there is none."""
    return max((one for one in models if label.startswith((f"{one}-", f"{one}+"))), key=len, default=None)


def prompting_tables(results: Results) -> list[Table]:
    """Return what training with prompts changes without a prompt, on the hold-out."""
    tables = []
    for place, models in networks(results, "holdout").items():
        pairs = [(models[label], one) for name, one in models.items() if (label := f"{name}+prompts") in models]
        notes = [f"{images(models)}. Trained with prompts minus trained without; no image has a prompt here.", INTERVAL]
        rows = [difference_row(prompted, one) for prompted, one in pairs]
        tables += _differences("{} hold-out at {} px: training with prompts".format(*place), rows, notes)
    return tables


def _part_table(title: str, models: Networks) -> list[Table]:
    ours = models[OURS]
    rows = [
        [one.cells[0], *difference_row(one, ours)[1:]] for label, one in models.items() if one.is_ours and label != OURS
    ]
    notes = [
        f"{images(models)}. First row: scores. Other rows: the variant minus `{OURS}` "
        "(a negative difference in S_α favours RUN).",
        "`run-X`: without X (`ablation=no_X`; `…-closing_step`: an evaluation variant of the same training); "
        "`run+X`: `ablation=X`; `run_paper`: the model as published.",
        INTERVAL,
        "With one seed, a bold difference is a reason to train a second seed, not a finding: "
        "two trainings of one network can differ by as much.",
    ]
    return _differences(f"{title}: parts and choices", rows and [score_row(ours), *rows], notes)


def _whole_unfolding_table(title: str, models: Networks) -> list[Table]:
    ending = WITHOUT_CLOSING.removeprefix(OURS)
    pairs = [
        (_with_unfolding(label) + end, label)
        for label in models
        if label.startswith(NO_UNFOLDING)
        for end in (ending, "")
    ]
    rows = [difference_row(models[on], models[off]) for on, off in pairs if on in models]
    sharpens = (
        f"Only the rows with `{ending}` compare like with like: the closing step sharpens masks, "
        "and networks without unfolding have none."
    )
    notes = [f"{images(models)}. A positive difference in S_α favours the unfolding.", sharpens, INTERVAL]
    return _differences(f"{title}: all of the unfolding", rows, notes)


def _stage_count_table(title: str, models: Networks, results: Results) -> list[Table]:
    counted = {str(stages): models[name] for name, stages in STAGES.items() if name in models}
    rows = [[Cell(stages), *score_row(one)[1:], *cost(results, one)] for stages, one in counted.items()]
    header = [*heads("", "K", "seeds", *SHOWN, "params (M)", "GMACs")[1:]]
    return [Table(f"{title}: number of stages", header, rows, [f"{images(models)}."])] if len(rows) > 1 else []


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
        tables += _differences(f"{dataset}, test, input {size} × {size} px", rows, notes, measures)
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
    notes = ["Wall-clock time of all epochs, validation included, over all trainings behind these results."]
    unknown = runs["hours"].isna().sum()
    notes += [f"{unknown} of the trainings recorded no times."] if unknown else []
    return [Table("Hours", heads("training set", "px", "epochs", "trainings", "hours"), rows, notes)]
