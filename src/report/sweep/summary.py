"""A multirun in one table and one picture: ``python -m src.report.sweep DIR``.

Unfinished jobs are listed; nothing is scored again.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from textwrap import wrap
from typing import Any

from matplotlib.axes import Axes

from src.cli.command import console
from src.cli.script import ScriptParser
from src.report.figures.figure import figure_of, save_figure
from src.report.files import write_csv
from src.report.statistics import statistics_table
from src.report.sweep.groups import Group, Sweep, collect
from src.report.sweep.jobs import Job
from src.report.tables.columns import heading, number
from src.report.tables.scores import PROTOCOLS
from src.report.tables.table import Cell, Head, Table, markdown, terminal

DIGITS = 4
STATES = ("finished", "running", "failed", "stopped", "waiting")


def write_sweep(folder: Path, sweep: Sweep) -> list[Table]:
    """Write sweep.{md,csv}, sweep_comparisons.csv and sweep.{png,pdf} into `folder`; return the tables to print."""
    main, unfinished = [_main_table(sweep, dataset) for dataset in sweep.datasets or [""]], _unfinished_table(sweep)
    tables = [*main, *([unfinished] if unfinished.rows else [])]
    tests = [statistics_table(found, sweep.protocol) for found in sweep.comparisons.values() if found]
    (folder / "sweep.md").write_text("\n".join(["# Sweep\n", *map(markdown, [*tables, *tests])]), encoding="utf-8")
    write_csv(folder / "sweep.csv", _rows(sweep))
    write_csv(folder / "sweep_comparisons.csv", (vars(one) for found in sweep.comparisons.values() for one in found))
    if any(group.finished for group in sweep.groups):
        save_picture(folder / "sweep.png", sweep)
    return tables


def save_picture(path: Path, sweep: Sweep) -> None:
    """Draw each group's first measure on each data set (without a test: S_α on the hold-out), as PNG and PDF.

    One dot per seed, the mean and ± standard deviation; the reference's mean is a dotted line.
    """
    groups = [group for group in sweep.groups if group.finished]
    count = max(1, len(sweep.datasets))
    figure, axes = figure_of(1, count, 2.4 + 3.4 * count, 0.9 + 0.26 * len(groups), sharey=True)
    for axis, dataset in zip(axes[0], sweep.datasets or [""], strict=True):
        measure = sweep.columns[0] if dataset else "s_alpha"
        marks = sweep.marks(dataset)
        for y, group in enumerate(groups):
            values = group.means(dataset, measure) if dataset else group.holdout
            if values:
                _draw_seeds(
                    axis,
                    y,
                    values,
                    {"▲": "#0072b2", "▼": "#d55e00"}.get(marks.get((group.name, measure), ""), "#555555"),
                )
            if values and group.name == sweep.reference:
                axis.axvline(mean(values), color="black", linewidth=0.8, linestyle=":")
        axis.set_title(dataset or "hold-out", fontsize=10)
        axis.set_xlabel(heading(measure))
        axis.grid(axis="x", alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    if any(map(sweep.marks, sweep.datasets)):
        figure.supxlabel(f"blue: better, orange: worse than {sweep.reference}", fontsize=8)
    axes[0][0].set_yticks(range(len(groups)), ["\n".join(wrap(group.name, 60)) for group in groups])
    axes[0][0].set_ylim(len(groups) - 0.5, -0.5)
    save_figure(figure, path, path.with_suffix(".pdf"))


def _draw_seeds(axis: Axes, y: int, values: Sequence[float], color: str) -> None:
    axis.plot(values, [y] * len(values), "o", color=color, alpha=0.6, markersize=5, markeredgewidth=0, zorder=3)
    spread = _std(values) if len(values) > 1 else None
    axis.errorbar(mean(values), y, xerr=spread, fmt="|", color=color, markersize=11, markeredgewidth=2, capsize=3)


def main() -> None:
    """Run the command line of :func:`collect` and :func:`write_sweep`."""
    parser = ScriptParser("All jobs of a multirun in one table and one picture.")
    parser.add_argument(
        "folder", type=Path, help="the multirun's folder (paths.output_dir of `python -m src.train -m`)"
    )
    parser.add_argument(
        "--reference", help="the group that the others are tested against (default: full, if there is one)"
    )
    parser.add_argument(
        "--columns", nargs="+", help="measures, or one of the lists cod, polyp, vessel (default: the data sets' task)"
    )
    parser.add_argument("--no-cost", action="store_true", help="leave parameters and GMACs out: no network is built")
    parser.run(_summarise)


def _summarise(arguments: argparse.Namespace) -> None:
    sweep, out = collect(arguments.folder, arguments.reference, arguments.columns, not arguments.no_cost), console()
    for table in write_sweep(arguments.folder, sweep):
        out.print(terminal(table))
        for note in table.notes:
            out.print(note, style="dim", highlight=False)
    picture = ",png,pdf" if any(group.finished for group in sweep.groups) else ""
    out.print(f"Written: {arguments.folder}/sweep.{{md,csv{picture}}}, sweep_comparisons.csv", highlight=False)


def _main_table(sweep: Sweep, dataset: str) -> Table:
    header = [Head("config", is_number=False), Head("seeds"), *(Head(heading(name)) for name in sweep.columns)]
    header += [Head("hold-out S_α ↑"), Head("params (M)"), Head("GMACs"), Head("s / epoch")]
    marks, rows = sweep.marks(dataset), []
    top = max((mean(group.holdout) for group in sweep.groups if group.holdout), default=math.nan)
    for group in sweep.groups:
        cells = [Cell(group.name), Cell(_seeds(group))]
        for name in sweep.columns:
            cells.append(Cell(f"{_spread(group.means(dataset, name))} {marks.get((group.name, name), '')}".strip()))
        seconds = [job.epoch_seconds for job in group.jobs if not math.isnan(job.epoch_seconds)]
        is_best = not sweep.datasets and len(sweep.groups) > 1 and bool(group.holdout) and mean(group.holdout) == top
        cells += [Cell(_spread(group.holdout), "best" if is_best else ""), Cell(number(group.parameters / 1e6, 2))]
        cells += [Cell(number(group.gmacs, 2)), Cell(number(mean(seconds) if seconds else None, 1))]
        rows.append(cells)
    notes = ["Mean ± standard deviation over the finished seeds (one seed: no deviation)."]
    if dataset:
        notes[0] += " The checkpoint that is best on the hold-out was tested."
    if sweep.protocol:
        notes.append(f"Protocol {PROTOCOLS[sweep.protocol]}.")
    if sweep.comparisons.get(dataset):
        notes.append(
            f"▲ better, ▼ worse than {sweep.reference}: paired over images, each averaged over the seeds; Wilcoxon's "
            "test with Holm's correction and the bootstrap agree. This holds for these trainings; the standard "
            "deviation indicates whether new seeds would repeat it."
        )
    return Table(f"{dataset or 'Sweep'}: {len(sweep.groups)} configurations", header, rows, notes)


def _unfinished_table(sweep: Sweep) -> Table:
    header = [
        Head(name, is_number=name == "epochs")
        for name in ("job", "configuration", "seed", "state", "epochs", "what is known")
    ]
    rows = [
        [Cell(job.folder.name), Cell(job.name), Cell(job.seed), Cell(job.state), Cell(_epochs(job)), Cell(job.why)]
        for group in sweep.groups
        for job in group.jobs
        if job.state != "finished"
    ]
    return Table("Jobs that are not finished", header, rows)


def _rows(sweep: Sweep) -> Iterator[dict[str, Any]]:
    """Yield one row per configuration and data set, in full precision."""
    for group in sweep.groups:
        states = {f"jobs_{state}": sum(job.state == state for job in group.jobs) for state in STATES}
        seconds = [job.epoch_seconds for job in group.jobs if not math.isnan(job.epoch_seconds)]
        about: dict[str, Any] = {
            "configuration": group.name,
            **states,
            "parameters": group.parameters,
            "gmacs": group.gmacs,
        }
        about["epoch_seconds"] = mean(seconds) if seconds else math.nan
        for dataset in sweep.datasets or [""]:
            values = {name: group.means(dataset, name) for name in sweep.columns}
            spread = {
                f"{name}_{kind}": of(v) for name, v in values.items() for kind, of in (("mean", _mean), ("std", _std))
            }
            yield about | {"dataset": dataset, "protocol": sweep.protocol} | spread


def _seeds(group: Group) -> str:
    others = [state for state in STATES[1:] if any(job.state == state for job in group.jobs)]
    counts = [f"{sum(job.state == state for job in group.jobs)} {state}" for state in others]
    return " + ".join([str(len(group.finished)), *counts])


def _epochs(job: Job) -> str:
    return f"{job.epochs}/{job.config.get('trainer', {}).get('max_epochs', '?')}"


def _mean(values: Sequence[float]) -> float:
    return mean(values) if values else math.nan


def _std(values: Sequence[float]) -> float:
    """Return the sample standard deviation; NaN for fewer than two values."""
    return stdev(values) if len(values) > 1 else math.nan


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return number(mean(values), DIGITS) + (f" ± {_std(values):.{DIGITS}f}" if len(values) > 1 else "")
