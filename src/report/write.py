"""A report of the scores of methods on data sets: tables, figures and files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from src.report import files
from src.report.figures.curves import save_curves
from src.report.figures.gallery import Panel, error_words, pick_images, save_gallery
from src.report.html import Page
from src.report.statistics import Comparison, compare_methods, statistics_table
from src.report.tables.breakdown import break_down, breakdown_rows, breakdown_tables
from src.report.tables.columns import choose_columns
from src.report.tables.published import PublishedRow, select_published
from src.report.tables.scores import PROTOCOLS, scores_table, set_notes
from src.report.tables.table import Table, latex, markdown, terminal
from src.scoring.scores import SetScores
from src.utils.errors import UserError

STAGE_DIGITS = 4
"""Decimals of the tables of stages, which differ in the fourth; methods have `digits` decimals, as in the field."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report shows.

    Args:
        columns: measures of the tables, a preset of `columns.PRESETS`, or None for the preset of the data sets' task.
        digits: decimals of the tables; the CSV files have all digits.
        published_settings: settings of the published rows to show; empty: no rows.
        published_backbones: backbones of the published rows to show; None: all.
        reference: the method that the others are compared with; None: all pairs.
        parquet: also write `per_image.parquet`; needs pyarrow.
    """

    columns: str | Sequence[str] | None = None
    digits: int = 3
    published_settings: Sequence[str] = ("common",)
    published_backbones: Sequence[str] | None = None
    reference: str | None = None
    parquet: bool = False

    def check(self, measures: Iterable[str], datasets: Sequence[str], methods: Sequence[str] | None = None) -> None:
        """Raise a UserError if the report cannot show what is asked for; called before anything is scored.

        Args:
            measures: the measures that will be computed.
            datasets: names of the data sets.
            methods: names of the methods; None: not known yet.
        """
        choose_columns(self.columns, measures, datasets)
        select_published(datasets, self.published_settings, self.published_backbones)
        if methods is not None and self.reference is not None and self.reference not in methods:
            raise UserError(f"report.reference={self.reference}: no such method; there are {', '.join(methods)}")
        if not 1 <= self.digits <= 6:
            raise UserError(f"report.digits={self.digits}: expected 1 to 6")
        if self.parquet:
            files.check_parquet()


@dataclass(frozen=True)
class Report:
    """Scores, and what the report says about them.

    Args:
        title: of the report.
        protocol: `field`, `raw` or `released`.
        results: data set → the scores of its methods.
        panels: (data set, image) → the pictures of one row of the gallery.
        stages: data set → the scores of the maps M_0 … M_K (and M̂_{K+1}) of one network, the last of which is the
            method's map; empty for other maps.
        context: notes under every main table.
    """

    title: str
    protocol: str
    results: dict[str, list[SetScores]]
    panels: Callable[[str, str], list[Panel]]
    stages: dict[str, list[SetScores]] = field(default_factory=dict)
    context: Sequence[str] = ()


def write_report(folder: Path, report: Report, options: ReportOptions, console: Console) -> None:
    """Write all files into `folder` and print the tables of the measured scores.

    Files: metrics.{md,tex,csv}, per_image.csv, curves.csv, comparisons.csv, breakdown.csv, curves_SET.{png,pdf},
    gallery_SET.png and report.html. The same scores give byte-identical files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    datasets, results = list(report.results), [one for group in report.results.values() for one in group]
    maps = [one for dataset, group in report.results.items() for one in report.stages.get(dataset) or group]
    columns = choose_columns(options.columns, results[0].measures, datasets)
    published = select_published(datasets, options.published_settings, options.published_backbones)
    page = Page(report.title, f"Protocol {PROTOCOLS[report.protocol]}.")
    text, groups, comparisons = [f"# {report.title}\n"], [], list[Comparison]()
    tex = [latex(_main_table(report, datasets, columns, options, published))]
    for dataset in datasets:
        main = _main_table(report, [dataset], columns, options, published)
        compared = _comparisons(report, dataset, columns, options)
        broken_down = break_down(report.results[dataset])
        by_stage = _stage_tables(report, dataset, columns)
        side = [*by_stage, *([statistics_table(compared, report.protocol)] if compared else [])]
        parts = breakdown_tables(broken_down, columns, report.protocol, options.digits)
        groups += broken_down
        comparisons += compared
        text += [f"## {dataset}\n", *map(markdown, [main, *side, *parts])]
        tex += map(latex, [*side, *parts])
        page.section(dataset)
        page.tables([main])
        page.tables(side)
        _pictures(folder, report, dataset, columns[0], page)
        page.tables(parts, folded=f"{dataset} by object size, number of objects and class")
        for table in by_stage or [_main_table(report, [dataset], columns, options, ())]:
            console.print(terminal(table))
    for note in [*set_notes(report.results), f"Protocol {PROTOCOLS[report.protocol]}.", *report.context]:
        console.print(note, style="dim", markup=False, highlight=False)
    (folder / "metrics.md").write_text("\n".join(text), encoding="utf-8")
    (folder / "metrics.tex").write_text(
        "% needs \\usepackage{booktabs,graphicx}\n\n" + "\n".join(tex), encoding="utf-8"
    )
    page.write(folder / "report.html")
    files.write_csv(folder / "metrics.csv", files.metric_rows(maps, published, report.protocol))
    files.write_csv(folder / "per_image.csv", files.image_rows(results, report.protocol))
    files.write_csv(folder / "curves.csv", files.curve_rows(maps, report.protocol))
    files.write_csv(folder / "breakdown.csv", ({"protocol": report.protocol} | row for row in breakdown_rows(groups)))
    files.write_csv(folder / "comparisons.csv", ({"protocol": report.protocol} | vars(one) for one in comparisons))
    if options.parquet:
        files.write_parquet(folder / "per_image.parquet", files.image_rows(results, report.protocol))


def _main_table(
    report: Report,
    datasets: Sequence[str],
    columns: Sequence[str],
    options: ReportOptions,
    published: Sequence[PublishedRow],
) -> Table:
    chosen = {dataset: report.results[dataset] for dataset in datasets}
    title = f"{', '.join(datasets)}: scores"
    return scores_table(title, chosen, columns, report.protocol, options.digits, published, report.context)


def _stage_tables(report: Report, dataset: str, columns: Sequence[str]) -> list[Table]:
    stages = report.stages.get(dataset, [])
    if len(stages) < 2:
        return []
    return [
        scores_table(
            f"{dataset}: stage by stage",
            {dataset: stages},
            columns,
            report.protocol,
            STAGE_DIGITS,
            context=report.context,
        )
    ]


def _comparisons(report: Report, dataset: str, columns: Sequence[str], options: ReportOptions) -> list[Comparison]:
    """Compare the methods, or the last stage with each earlier stage of a single network."""
    methods, stages = report.results[dataset], report.stages.get(dataset, [])
    if len(methods) > 1:
        there = [one.label for one in methods]
        return compare_methods(methods, columns, options.reference if options.reference in there else None)
    return compare_methods(stages, columns, stages[-1].label) if len(stages) > 1 else []


def _pictures(folder: Path, report: Report, dataset: str, measure: str, page: Page) -> None:
    curves, gallery = folder / f"curves_{dataset}.png", folder / f"gallery_{dataset}.png"
    save_curves(curves, report.stages.get(dataset) or report.results[dataset], report.protocol)
    page.picture(curves, f"{dataset}: precision–recall, F and E over 256 thresholds; protocol {report.protocol}")
    picks = pick_images(report.results[dataset], measure)
    in_view = report.results[dataset][0].in_view > 0
    save_gallery(gallery, picks, measure, report.protocol, lambda image: report.panels(dataset, image), in_view)
    page.picture(gallery, f"{dataset}: the best, the median and the worst images; errors: {error_words(in_view)}")
