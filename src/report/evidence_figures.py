"""The figures of docs/results.md."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from src.report.columns import latex_heading
from src.report.curves import COLOURS
from src.report.evidence_tables import OURS, SHOWN, TWIN, differences, networks
from src.report.figures import figure_of, save_figure
from src.report.stored import Results


def draw_differences(results: Results, path: Path) -> bool:
    """RUN minus each rival on the test sets with its interval, one panel a measure; False (and no file) where there is no pair."""
    rows = [
        (f"{dataset} {size} px: {model}", differences(models[OURS], one))
        for (dataset, size), models in networks(results, "test").items()
        for model, one in models.items()
        if OURS in models and not model.startswith(OURS)
    ]
    if not rows:
        return False
    figure, axes = figure_of(1, len(SHOWN), 2.6 * len(SHOWN) + 1.2, 1.0 + 0.34 * len(rows), sharey=True)
    for axis, name in zip(axes[0], SHOWN, strict=True):
        for y, (_, found) in enumerate(rows):
            one = found[name]
            colour = COLOURS[0] if one.excludes_zero else "#777777"
            axis.plot([one.low, one.high], [y, y], color=colour, linewidth=2)
            axis.plot([one.mean], [y], "o", color=colour, markersize=6)
        axis.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axis.set_xlabel(latex_heading(name))
        axis.grid(axis="x", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        axis.locator_params(axis="x", nbins=4)
    axes[0][0].set_yticks(range(len(rows)), [label for label, _ in rows])
    axes[0][0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle("RUN minus rival, 95 % intervals (blue: 0 is left out)", fontsize=10)
    save_figure(figure, path)
    return True


def draw_stages(results: Results, path: Path) -> bool:
    """Each measure of M_0 … M_K on the test sets, RUN and its twin; dots are seeds, lines their means. False where there are no stages."""
    groups = {key: models for key, models in networks(results, "test").items() if OURS in models and models[OURS].seeds[0].stages}
    if not groups:
        return False
    figure, axes = figure_of(len(groups), len(SHOWN), 2.6 * len(SHOWN) + 0.4, 0.5 + 2.1 * len(groups))
    for line, ((dataset, size), models) in zip(axes, groups.items(), strict=True):
        for axis, measure in zip(line, SHOWN, strict=True):
            for colour, model in zip(COLOURS, [name for name in (OURS, TWIN) if name in models], strict=False):
                values = np.array([[stage[measure] for stage in one.stages.values()] for one in models[model].seeds])
                places = np.arange(values.shape[1])
                axis.plot(places, values.mean(0), "-", color=colour, linewidth=1.6, label=model)
                axis.plot(places, values.T, "o", color=colour, markersize=4, alpha=0.7)
                axis.set_xticks(places, [f"$M_{k}$" for k in places])
            axis.set_title(f"{latex_heading(measure)}, {dataset} {size} px", fontsize=9)
            axis.grid(alpha=0.25)
            axis.spines[["top", "right"]].set_visible(False)
        line[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)
    return True
