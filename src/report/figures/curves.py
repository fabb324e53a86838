"""Precision–recall, F and E curves of the methods on one data set, as one figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from src.metrics.functional import THRESHOLDS
from src.report.figures.figure import figure_of, plain, save_figure
from src.scoring.scores import SetScores

# Okabe and Ito's colours, distinguishable with every common colour blindness; they repeat with another dash pattern.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", ":", "-.")


def save_curves(path: Path, results: Sequence[SetScores], protocol: str) -> None:
    """Write the figure as PNG to `path`, and as PDF beside it."""
    figure, axes = figure_of(1, 3, 10.0, 3.4)
    precision, f_measure, e_measure = axes[0]
    for i, one in enumerate(results):
        style = {
            "color": COLOURS[i % len(COLOURS)],
            "linestyle": DASHES[i // len(COLOURS) % len(DASHES)],
            "linewidth": 1.6,
        }
        curves = one.curves
        precision.plot(
            curves["recall_curve"],
            curves["precision_curve"],
            label=f"${one.label}$" if one.map else plain(one.label),
            **style,
        )
        f_measure.plot(THRESHOLDS, curves["f_curve"], **style)
        e_measure.plot(THRESHOLDS, curves["e_curve"], **style)
    for axis, title, x, y in (
        (precision, "precision and recall", "recall", "precision"),
        (f_measure, "F-measure (β² = 0.3)", "threshold", "$F_β$"),
        (e_measure, "E-measure", "threshold", "$E_φ$"),
    ):
        axis.set(title=title, xlabel=x, ylabel=y, xlim=(0, 1), ylim=(0, 1))
        axis.grid(color="#dddddd", linewidth=0.6)
        axis.spines[["top", "right"]].set_visible(False)
        axis.title.set_fontsize(10)
    figure.legend(loc="outside lower center", ncols=min(len(results), 5), frameon=False, fontsize=9)
    figure.suptitle(f"{plain(results[0].dataset)}, {len(results[0].rows)} images, protocol {protocol}", fontsize=11)
    save_figure(figure, path, path.with_suffix(".pdf"))
