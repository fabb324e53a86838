"""The tables of docs/results.md: what each one asks of the stored results."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import numpy as np

from scripts.results.archive import SHARPER, TASKS, TWO_ROUNDS, UNCLOSED, Gains, Key, Results, Starts, Stored, Training, training_of
from scripts.results.networks import (
    DIGITS,
    INTERVAL,
    OURS,
    SHOWN,
    TWIN,
    Network,
    best_on_holdout,
    commits,
    cost,
    difference_cells,
    difference_header,
    difference_row,
    grouped,
    images,
    marked,
    networks,
    signed,
    spread,
)
from scripts.results.paired import Difference, paired_difference
from scripts.results.store import PROTOCOL
from src.report.statistics import RESAMPLES, SEED
from src.report.tables.columns import heading, number, ranks
from src.report.tables.scores import PROTOCOLS
from src.report.tables.table import Cell, Head, Table

ALL = ("s_alpha", "e_mean", "f_weighted", "f_adp", "mae", "iou")
UNCOUPLED = f"{OURS}-coupling"
STAGES = {"run+stages_1": 1, "run+stages_2": 2, "run+stages_3": 3, OURS: 4, "run+stages_5": 5, "run+stages_6": 6}


def main_tables(results: Results) -> list[Table]:
    """Every network on every test set, and what it scored on the hold-out that selected it."""
    holdout = networks(results, "holdout")
    tables = []
    for (dataset, size), models in networks(results, "test").items():
        header = [Head("model", is_number=False), Head("seeds"), *(Head(heading(name)) for name in ALL)]
        header += [Head("hold-out S_α ↑"), Head("params (M)"), Head("GMACs")]
        printed = {name: marked([one.means(name) for one in models.values()], name) for name in ALL}
        rows = []
        for i, one in enumerate(models.values()):
            chosen = holdout.get((dataset, size), {}).get(one.model)
            parameters, gmacs = cost(results.trainings, one)
            cells = [Cell(f"`{one.model}`"), Cell(str(len(one.seeds))), *(printed[name][i] for name in ALL)]
            rows.append([*cells, Cell(spread(chosen.means("s_alpha")) if chosen else "–"), Cell(parameters), Cell(gmacs)])
        notes = [
            f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.",
            "Mean over seeds ± standard deviation (one seed: none); best bold, second underlined, ranked as printed.",
            commits(list(models.values())),
        ]
        tables.append(Table(f"{dataset}-Test, input {size} × {size} px", header, rows, notes))
    return tables


def difference_tables(results: Results) -> list[Table]:
    """RUN against every rival on the test sets."""
    tables = []
    for (dataset, size), models in networks(results, "test").items():
        rivals = {model: one for model, one in models.items() if not model.startswith(OURS)}
        if OURS not in models or not rivals:
            continue
        best = best_on_holdout(results, dataset, size, list(rivals))
        rows = [
            difference_row(f"`{ours}` − `{model}`" + " (best rival)" * (model == best), models[ours], one)
            for ours in (OURS, OURS + UNCLOSED)
            if ours in models
            for model, one in rivals.items()
        ]
        notes = [f"{images(models)}. {INTERVAL}"]
        notes += [f"Best rival: the highest mean S_α on the hold-out, `{best}`."] if best else []
        notes += [f"`{OURS}{UNCLOSED}`: the same trainings, the final mask M_K: as sharp as its rivals."] * (OURS + UNCLOSED in models)
        tables.append(Table(f"{dataset}-Test at {size} px: RUN minus its rivals", difference_header(SHOWN), rows, notes))
    return tables


def sharpness_tables(results: Results) -> list[Table]:
    """What the closing step is worth beside logits that are multiplied: every network as it is and sharper, and RUN minus each of them."""
    tables, measures = [], (*SHOWN, "iou")
    for split, named in (("test", "Test"), ("holdout", "hold-out")):
        runs = [one for one in results.runs if one.key.split == split and one.key.dataset not in TASKS]
        sharper = {(one.key.dataset, one.key.size, training_of(one.key.model)) for one in runs if SHARPER.search(one.key.model)}
        sharper |= {(dataset, size, OURS) for dataset, size, _ in sharper}
        shown = [one for one in runs if (*_place(one.key), training_of(one.key.model)) in sharper and TWO_ROUNDS not in one.key.model]
        for (dataset, size), models in grouped(shown).items():
            printed = {name: marked([one.means(name) for one in models.values()], name) for name in measures}
            header = [Head("network", is_number=False), Head("logits ×"), *(Head(heading(name)) for name in measures)]
            rows = []
            for i, model in enumerate(models):
                found = SHARPER.search(model)
                rows.append(
                    [Cell(f"`{SHARPER.sub('', model)}`"), Cell(found[1] if found else "1"), *(printed[name][i] for name in measures)]
                )
            notes = [f"{images(models)}. Mean over seeds ± standard deviation; best bold, second underlined."]
            tables.append(Table(f"{dataset}, {named}, {size} px: sharper masks", header, rows, notes))
            pairs = [(ours, name) for name in models if (ours := _closed_partner(name)) in models and ours != name]
            if pairs:
                rows = [difference_row(f"`{ours}` − `{name}`", models[ours], models[name], measures) for ours, name in pairs]
                title = f"{dataset}, {named}, {size} px: RUN minus sharper masks"
                tables.append(Table(title, difference_header(measures), rows, [f"{images(models)}. {INTERVAL}"]))
    return tables


def _closed_partner(model: str) -> str:
    """The RUN with its closing step that a network is compared with: of the same levels where it is named by them.

    >>> _closed_partner("fpn_ds_x2"), _closed_partner("run-coupling+levels_4_x1.5"), _closed_partner("run+levels_4-closing_step")
    ('run', 'run+levels_4', 'run+levels_4')
    """
    name = training_of(model).replace(UNCOUPLED, OURS, 1)
    return name if name.startswith(f"{OURS}+") else OURS


def _place(key: Key) -> tuple[str, int]:
    return key.dataset, key.size


def round_tables(results: Results) -> list[Table]:
    """The same with a second, magnified look at every image, and what that look is worth to each network."""
    again = [one for one in results.runs if one.key.model.endswith(TWO_ROUNDS)]
    renamed = [replace(one, key=one.key._replace(model=one.key.model.removesuffix(TWO_ROUNDS))) for one in again]
    twice = results._replace(runs=renamed)
    of_one = "Parameters and GMACs: of one look."
    tables = [replace(table, title=f"{table.title}, two rounds", notes=[*table.notes, of_one]) for table in main_tables(twice)]
    tables += [replace(table, title=f"{table.title}, two rounds") for table in difference_tables(twice)]
    for split in ("test", "holdout"):
        for (dataset, size), models in networks(twice, split).items():
            once = networks(results, split).get((dataset, size), {})
            rows = []
            for name, one in models.items():
                seeds = {stored.key.seed: stored for stored in once[name].seeds} if name in once else {}
                pairs = [(stored, seeds[stored.key.seed]) for stored in one.seeds if stored.key.seed in seeds]
                if pairs:
                    rows.append([Cell(f"`{name}`"), Cell(str(len(pairs))), *difference_cells(_gains(pairs))])
            title = f"{dataset}, {'test' if split == 'test' else 'hold-out'}, {size} px: what the second round adds"
            header = [Head("network", is_number=False), *difference_header(SHOWN)[1:]]
            notes = [
                f"{images(models)}. The second round minus the first of the same trainings. Interval: 95 %, percentile bootstrap over "
                f"images and seeds, {RESAMPLES} resamples, seed {SEED}; in bold where it leaves out 0."
            ]
            tables += [Table(title, header, rows, notes)] if rows else []
    return tables


def _gains(pairs: Sequence[tuple[Stored, Stored]]) -> dict[str, Difference]:
    """Of the first over the second of each pair, which are the same training: seeds are drawn together."""
    gains = {name: np.stack([one.values(name) - other.values(name) for one, other in pairs]) for name in SHOWN}
    return {name: paired_difference(values, np.zeros((1, values.shape[1]))) for name, values in gains.items()}


def stage_tables(results: Results) -> list[Table]:
    """M_0 … M_K and M̂_{K+1} of RUN beside its twin's: levels and loss weights rise in both, so only the difference counts."""
    tables = []
    for split in ("test", "holdout"):
        for (dataset, size), models in networks(results, split).items():
            pair = [models[name] for name in (OURS, TWIN) if name in models]
            if OURS not in models or not models[OURS].seeds[0].stages:
                continue
            has_gain = any(not math.isnan(values["gain"]) for one in models[OURS].seeds for values in one.stages.values())
            header = [Head("map", is_number=False), *(Head(f"{one.model}: {heading(name)}") for one in pair for name in SHOWN)]
            header += [Head("S_α: run − fpn_ds")] * (len(pair) == 2) + [Head("gain of the mask step")] * has_gain
            rows = []
            for name in models[OURS].seeds[0].stages:
                means = [[_stage_mean(one, name, measure) for measure in SHOWN] for one in pair]
                row = [Cell(name), *(Cell(number(value, DIGITS)) for values in means for value in values)]
                row += [Cell(signed(means[0][0] - means[1][0]))] if len(pair) == 2 else []
                rows.append([*row, Cell(signed(_stage_mean(models[OURS], name, "gain")))] if has_gain else row)
            notes = ["Means over seeds and images."]
            if has_gain:
                notes.append("Gain of the mask step: mean|M_{k−1} − G| − mean|M̂_k − G| on the hold-out, at the best checkpoint's epoch.")
            title = f"{dataset}, {'test' if split == 'test' else 'hold-out'}, {size} px: stage by stage"
            tables.append(Table(title, header, rows, notes))
    return tables


def start_tables(results: Results) -> list[Table]:
    """What the stages make of another start, a table a network."""
    return [start_table(key, starts) for key, starts in sorted(results.starts.items())]


def start_table(key: Key, starts: Starts) -> Table:
    """S_α and MAE of every map, a row a start."""
    maps = list(next(iter(starts.values())))
    measures = ("s_alpha", "mae")
    header = [Head("M_0 is", is_number=False), *(Head(f"{name}: {heading(measure)}") for measure in measures for name in maps)]
    rows = [
        [Cell(start), *(Cell(number(scores[name][measure], 3)) for measure in measures for name in maps)]
        for start, scores in starts.items()
    ]
    notes = ["Means over the images of the hold-out. Starts go in at the resolution of the unfolding, between 0.01 and 0.99."]
    return Table(f"{key.dataset}, {key.size} px, `{key.model}`, seed {key.seed}: the stages from other starts", header, rows, notes)


def gain_tables(results: Results) -> list[Table]:
    """What each part of the mask step gains, a table a network."""
    return [gain_table(key, gains) for key, gains in sorted(results.gains.items())]


def gain_table(key: Key, gains: Gains) -> Table:
    """A row a part, a column a mask step."""
    steps = list(next(iter(gains.values())))
    header = [Head("a step of", is_number=False), *(Head(f"M̂_{k}") for k in steps)]
    rows = [[Cell(part), *(Cell(signed(values[k])) for k in steps)] for part, values in gains.items()]
    notes = [
        "mean|M_{k−1} − G| − mean|M̂_k − G| over the images of the hold-out, at the resolution of the unfolding, where M̂_k is M_{k−1} and"
        " these parts of the step alone."
    ]
    return Table(f"{key.dataset}, {key.size} px, `{key.model}`, seed {key.seed}: what the parts of the mask step gain", header, rows, notes)


def unfolding_tables(results: Results) -> list[Table]:
    """Where RUN's few numbers start and end, and the gains of its mask steps at the end."""
    tables = []
    for dataset, size in sorted({(one.dataset, one.size) for one in results.histories if one.model == OURS and one.dataset not in TASKS}):
        seeds = [one for one in results.histories if (one.dataset, one.size, one.model) == (dataset, size, OURS)]
        names = [
            name for name in seeds[0].values if name.startswith(("unfolding/", "val/gain_")) and all(name in one.values for one in seeds)
        ]
        if not names:
            continue
        rows = []
        for name in names:
            ends = [[one.values[name][pick(one.values[name])] for one in seeds] for pick in (min, max)]
            rows.append([Cell(_symbol(name)), *(Cell(spread(values)) for values in ends)])
        header = [Head("number", is_number=False), Head("after the first epoch"), Head("after the last")]
        notes = [f"Mean over {len(seeds)} seed{'s'[: len(seeds) > 1]} ± standard deviation. The gains are those of the hold-out."]
        tables.append(Table(f"{dataset}, {size} px: the unfolding's own numbers", header, rows, notes))
    return tables


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
        variants = {name: one for name, one in models.items() if name.startswith(OURS) and name != OURS}
        if OURS not in models or not variants:
            continue
        rows = [difference_row(f"`{name}`", one, models[OURS]) for name, one in variants.items()]
        own = [Cell(f"`{OURS}`"), Cell(str(len(models[OURS].seeds))), *(Cell(spread(models[OURS].means(name))) for name in SHOWN)]
        notes = [
            f"{images(models)}. First row: the scores; the others: the variant minus `{OURS}` (a minus in S_α speaks for RUN).",
            f"`run-X`: without X (`ablation=no_X`; `…{UNCLOSED}`: a reading of the same training); `run+X`: `ablation=X`; `run_paper`: "
            "the letter of the paper.",
            INTERVAL,
            "With one seed each, bold is a reason for a second seed, no result: two trainings of one network can differ by as much.",
        ]
        tables.append(Table(f"{dataset} hold-out at {size} px: parts and choices", difference_header(SHOWN), [own, *rows], notes))
        off = [name for name in models if name.startswith(UNCOUPLED)]
        pairs = [(name.replace(UNCOUPLED, OURS, 1) + ending, name) for name in off for ending in (UNCLOSED, "")]
        rows = [difference_row(f"`{on}` − `{off}`", models[on], models[off]) for on, off in pairs if on in models]
        if rows:
            notes = [
                f"{images(models)}. A plus in S_α speaks for the unfolding.",
                f"Like for like: the rows with `{UNCLOSED}`, a step that sharpens.",
                INTERVAL,
            ]
            tables.append(Table(f"{dataset} hold-out at {size} px: all of the unfolding", difference_header(SHOWN), rows, notes))
        if any(name in STAGES for name in variants):
            header = [Head("K"), Head("seeds"), *(Head(heading(name)) for name in SHOWN), Head("params (M)"), Head("GMACs")]
            rows = []
            for name, stages in STAGES.items():
                if name in models:
                    scores = [spread(models[name].means(measure)) for measure in SHOWN]
                    own_cost = cost(results.trainings, models[name])
                    rows.append([*map(Cell, [str(stages), str(len(models[name].seeds)), *scores, *own_cost])])
            tables.append(Table(f"{dataset} hold-out at {size} px: number of stages", header, rows, [f"{images(models)}."]))
    return tables


def task_tables(results: Results) -> list[Table]:
    """Other tasks' test sets by the measures that their literature prints: the networks, RUN minus each, and RUN's M_K minus each rival."""
    tables = []
    tested = [one for one in results.runs if one.key.split == "test" and not one.key.model.endswith(TWO_ROUNDS)]
    for (dataset, size), models in grouped([one for one in tested if one.key.dataset in TASKS]).items():
        measures = (*TASKS[dataset], "iou", "s_alpha")
        rows = []
        for model, one in models.items():
            rows.append([Cell(f"`{model}`"), Cell(str(len(one.seeds))), *(Cell(spread(one.means(name))) for name in measures)])
        as_soft = [(OURS + UNCLOSED, model) for model in models if not model.startswith(OURS) and not SHARPER.search(model)]
        pairs = [*((OURS, model) for model in models if model != OURS), *as_soft]
        rows += [difference_row(f"`{ours}` − `{model}`", models[ours], models[model], measures) for ours, model in pairs if ours in models]
        inside = " Inside the field of view; means over images, AUC too." if "auc" in measures else ""
        notes = [f"{images(models)}, at original size, protocol {PROTOCOLS[PROTOCOL]}.{inside}"]
        notes += [f"`{OURS}{UNCLOSED}`: the same training, the final mask M_K: as soft as its rivals."] * (OURS + UNCLOSED in models)
        notes += [INTERVAL, commits(list(models.values()))]
        tables.append(Table(f"{dataset}, test, input {size} × {size} px", difference_header(measures), rows, notes))
    return tables


def rate_tables(results: Results) -> list[Table]:
    """Models by learning rates: best hold-out S_α of the short runs."""
    groups: dict[tuple[str, int, int], list[Training]] = {}
    for one in results.trainings:
        groups.setdefault((one.dataset, one.size, one.epochs), []).append(one)
    tables = []
    for (dataset, size, epochs), group in sorted(groups.items()):
        several = {one.model for one in group if any(other.model == one.model and other.lr != one.lr for other in group)}
        chosen = [one for one in group if one.model in several]
        if not chosen:
            continue
        rates = sorted({one.lr for one in chosen})
        rows = []
        for model in sorted(several, key=lambda model: (model != OURS, model)):
            values = [[one.holdout_s_alpha for one in chosen if (one.model, one.lr) == (model, lr)] for lr in rates]
            marks = ranks([mean(found) if found else None for found in values], True, DIGITS)
            rows.append([Cell(f"`{model}`"), *(Cell(spread(found), mark) for found, mark in zip(values, marks, strict=True))])
        notes = ["Best S_α on the hold-out (validation, at the masks' size) over the epochs; the best rate of each row is taken."]
        header = [Head("model", is_number=False), *(Head(f"lr {lr:g}") for lr in rates)]
        tables.append(Table(f"{dataset}, {size} px, {epochs} epochs: learning rates", header, rows, notes))
    return tables


def cost_tables(results: Results) -> list[Table]:
    """Hours of training."""
    rows = []
    for group in sorted({(one.dataset, one.size, one.epochs) for one in results.trainings}):
        of = [one for one in results.trainings if (one.dataset, one.size, one.epochs) == group]
        rows.append([*map(Cell, map(str, group)), Cell(str(len(of))), Cell(_hours(of))])
    if not rows:
        return []
    rows.append([Cell("all"), Cell(""), Cell(""), Cell(str(len(results.trainings))), Cell(_hours(results.trainings))])
    header = [Head("training set", is_number=False), Head("px"), Head("epochs"), Head("trainings"), Head("hours")]
    notes = ["Wall clock of all epochs, validation included, of the trainings on this page."]
    unknown = sum(math.isnan(one.hours) for one in results.trainings)
    return [Table("Hours", header, rows, [*notes, *([f"{unknown} of them left no times."] if unknown else [])])]


def _hours(trainings: Sequence[Training]) -> str:
    known = [one.hours for one in trainings if not math.isnan(one.hours)]
    return f"{sum(known):.2f}" if known else "–"


def _stage_mean(network: Network, name: str, measure: str) -> float:
    found = [one.stages[name][measure] for one in network.seeds if name in one.stages]
    return mean(found) if found else math.nan
