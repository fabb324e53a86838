"""Tables of what happens inside RUN: stage by stage, from other starts, its mask steps and learned numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from scripts.results.archive import SCORED, TASKS, Results
from scripts.results.networks import CONTROL, DIGITS, OURS, SHOWN, heads, signed, spread
from scripts.results.tables import SPLIT_NAMES
from src.report.tables.columns import heading, number
from src.report.tables.table import Cell, Table


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
    kind, _, index = name.rpartition("/")[2].partition("_")
    if kind == "gain":
        return f"gain of mask step {index}"
    symbol = {"mu": "μ", "nu": "ν", "lambda": "λ", "alpha": "α", "gamma": "γ"}.get(kind, kind)
    return f"{symbol} of stage {int(index) + 1}" if kind == "gamma" or index not in ("", "0") else symbol
