"""Tables of what a part, a choice or the prompts are worth: differences on the hold-out."""

from __future__ import annotations

from scripts.results.archive import Results
from scripts.results.networks import (
    OURS,
    SHOWN,
    WITHOUT_CLOSING,
    Networks,
    cost,
    difference_row,
    heads,
    images,
    networks,
    score_row,
)
from scripts.results.tables import INTERVAL, NO_UNFOLDING, differences, with_unfolding
from src.report.tables.table import Cell, Table

STAGES = {"run+stages_1": 1, "run+stages_2": 2, "run+stages_3": 3, OURS: 4, "run+stages_5": 5, "run+stages_6": 6}


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
    return differences(f"{title}: parts and choices", rows and [score_row(ours), *rows], notes)


def _whole_unfolding_table(title: str, models: Networks) -> list[Table]:
    ending = WITHOUT_CLOSING.removeprefix(OURS)
    pairs = [
        (with_unfolding(label) + end, label)
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
    return differences(f"{title}: all of the unfolding", rows, notes)


def _stage_count_table(title: str, models: Networks, results: Results) -> list[Table]:
    counted = {str(stages): models[name] for name, stages in STAGES.items() if name in models}
    rows = [[Cell(stages), *score_row(one)[1:], *cost(results, one)] for stages, one in counted.items()]
    header = [*heads("", "K", "seeds", *SHOWN, "params (M)", "GMACs")[1:]]
    return [Table(f"{title}: number of stages", header, rows, [f"{images(models)}."])] if len(rows) > 1 else []


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
        tables += differences("{} hold-out at {} px: choices".format(*place), rows, notes)
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
        tables += differences("{} hold-out at {} px: training with prompts".format(*place), rows, notes)
    return tables
