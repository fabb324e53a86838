"""The figures of the pages in docs/results."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes

from scripts.results.archive import Results
from scripts.results.mechanism_tables import compared_stages, unfolding_epochs
from scripts.results.networks import OURS, SHOWN, WITHOUT_CLOSING, differences, networks
from src.report.figures.curves import COLOURS
from src.report.figures.figure import figure_of, save_figure
from src.report.tables.columns import latex_heading
from src.report.tables.table import tex


def draw_differences(results: Results, path: Path) -> bool:
    """Draw RUN minus each rival on the test sets, with intervals, one panel per measure.

    Returns:
        False (and no file) if there is nothing to compare.
    """
    rows = [
        (f"{dataset} {size} px: {ours} − {label}", differences(models[ours], one))
        for (dataset, size), models in networks(results, "test").items()
        for ours in (OURS, WITHOUT_CLOSING)
        for label, one in models.items()
        if ours in models and not one.name.startswith(OURS)
    ]
    if not rows:
        return False
    figure, axes = figure_of(1, len(SHOWN), 2.6 * len(SHOWN) + 1.2, 1.0 + 0.34 * len(rows), sharey=True)
    for i, (axis, name) in enumerate(zip(axes[0], SHOWN, strict=True)):
        for y, (_, found) in enumerate(rows):
            one = found[i]
            colour = COLOURS[0] if one.excludes_zero else "#777777"
            axis.plot([one.low, one.high], [y, y], color=colour, linewidth=2)
            axis.plot([one.mean], [y], "o", color=colour, markersize=6)
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlabel(latex_heading(name))
        _tidy(axis, "x")
        axis.locator_params(axis="x", nbins=4)
    axes[0][0].set_yticks(range(len(rows)), [label for label, _ in rows])
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle("RUN minus rival, 95 % intervals (blue: excludes 0)", fontsize=10)
    save_figure(figure, path)
    return True


def draw_stages(results: Results, path: Path) -> bool:
    """Draw each measure of every stage mask on the test sets, for RUN and its control.

    Dots are seeds, lines are the means over them.

    Returns:
        False (and no file) if no stages are stored.
    """
    groups = compared_stages(results, "test")
    if not groups:
        return False
    figure, axes = figure_of(len(groups), len(SHOWN), 2.6 * len(SHOWN) + 0.4, 0.5 + 2.1 * len(groups))
    for line, ((dataset, size), models) in zip(axes, groups.items(), strict=True):
        for axis, measure in zip(line, SHOWN, strict=True):
            for colour, (name, rows) in zip(COLOURS, models.items(), strict=False):
                values = (
                    rows.pivot(index="map", columns="seed", values=measure)
                    .loc[rows["map"].unique()]
                    .dropna()
                    .to_numpy()
                )
                axis.plot(range(len(values)), values.mean(1), "-", color=colour, linewidth=1.6, label=name)
                axis.plot(range(len(values)), values, "o", color=colour, markersize=4, alpha=0.7)
            maps = models[OURS]["map"].unique()
            axis.set_xticks(range(len(maps)), [tex(name) for name in maps])
            axis.set_title(f"{latex_heading(measure)}, {dataset} {size} px", fontsize=9)
            _tidy(axis)
        line[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)
    return True


PANELS = (
    ("μ, λ, α (log)", {"μ": "unfolding/mu_0", "λ": "unfolding/lambda_0", "α": "unfolding/alpha_0"}),
    ("s, and γ of each stage", {"s": "unfolding/s_0"} | {f"$γ_{k}$": f"unfolding/gamma_{k - 1}" for k in range(1, 7)}),
    ("gain of each mask step (hold-out)", {f"$k={k}$": f"val/gain_{k}" for k in range(1, 7)}),
    ("gradient norm of each stage's RSS", {f"$k={k}$": f"gradient/state_spaces_{k - 1}" for k in range(1, 7)}),
    (
        "gradient norm of the other parts",
        {
            "encoder": "gradient/encoder",
            "start": "gradient/start",
            "mask step": "gradient/mask_steps_0",
            "ROBE": "gradient/robes_0",
        },
    ),
)
"""The panels of `draw_unfolding`: title, and label → logged name."""


def draw_unfolding(results: Results, path: Path) -> bool:
    """Draw RUN's learned numbers, the gains of its mask steps and its gradients over the epochs.

    One row of panels per data set and input size; lines are means over the seeds, bands span the seeds.

    Returns:
        False (and no file) if no epochs are stored.
    """
    groups = {
        f"{dataset} {size} px": rows for (dataset, size), rows in unfolding_epochs(results).groupby(["dataset", "size"])
    }
    if not groups:
        return False
    figure, axes = figure_of(len(groups), len(PANELS), 3.1 * len(PANELS), 0.5 + 2.6 * len(groups))
    for line, (name, rows) in zip(axes, groups.items(), strict=True):
        for axis, (title, lines) in zip(line, PANELS, strict=True):
            logged = {label: rows[rows["name"] == key] for label, key in lines.items()}
            there = {label: own for label, own in logged.items() if own["seed"].nunique() == rows["seed"].nunique()}
            for colour, (label, own) in zip(COLOURS, there.items(), strict=False):
                values = own.pivot(index="epoch", columns="seed", values="value").dropna()
                axis.plot(values.index, values.mean(axis=1), color=colour, linewidth=1.6, label=label)
                axis.fill_between(
                    values.index, values.min(axis=1), values.max(axis=1), color=colour, alpha=0.2, linewidth=0
                )
            axis.set_title(f"{title}, {name}", fontsize=8)
            axis.set_xlabel("epoch", fontsize=8)
            axis.set_yscale("log" if "log" in title else "linear")
            axis.tick_params(which="both", labelsize=8)
            axis.xaxis.get_major_locator().set_params(integer=True)
            _tidy(axis)
            if there:
                axis.legend(frameon=False, fontsize=7, ncols=2)
    save_figure(figure, path)
    return True


def _tidy(axis: Axes, lines: Literal["both", "x"] = "both") -> None:
    axis.grid(axis=lines, alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
