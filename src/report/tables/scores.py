"""The main table: published and measured rows, kept apart, and notes on how the numbers were computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from src.data.published_sets import count_note
from src.metrics import MEASURES
from src.report.tables.columns import heading, latex_heading, number, ranks
from src.report.tables.published import CELLS, SOURCE, PublishedRow
from src.report.tables.table import Cell, Head, Table
from src.scoring.scores import SetScores

PROTOCOLS = {
    "field": "field: maps rounded to 8 bits, then min–max normalised one by one, as the field's toolbox does",
    "raw": "raw: maps as they are given, neither rounded nor normalised",
    "released": "released: maps stretched min–max one by one, saved in 8 bits and normalised again, "
    "images not turned by their EXIF orientation, as the authors of RUN test",
}
PUBLISHED_DIGITS = 3
VIEW = (
    "; scored inside the field of view only (S, weighted F, boundaries and context take what is outside as background)"
)


def scores_table(
    title: str,
    results: Mapping[str, Sequence[SetScores]],
    columns: Sequence[str],
    protocol: str,
    digits: int,
    published: Sequence[PublishedRow] = (),
    context: Sequence[str] = (),
) -> Table:
    """Return a table with one row per method and the measures of each data set as columns.

    Best and second are marked among all rows of a column, as printed. Measured numbers are ranked apart from published
    ones if they cannot be compared (protocol `raw`, or a data set that lacks images); the notes say so.

    Args:
        title: of the table.
        results: data set → the scores of its methods.
        columns: names of measures.
        protocol: `field`, `raw` or `released`.
        digits: decimals.
        published: rows of papers, shown beside the measured ones.
        context: the caller's notes, e.g. the network's input size and the checkpoint.
    """
    datasets = list(results)
    published = [row for row in published if any(dataset in row.scores for dataset in datasets)]
    methods = list(dict.fromkeys(one.label for group in results.values() for one in group))
    measured = {(one.dataset, one.label): one.scalars for group in results.values() for one in group}
    apart = [name for name in datasets if published and not comparable(results[name], protocol)]
    rows = [[Cell(row.label), Cell("published")] for row in published]
    rows += [[Cell(name), Cell("measured here")] for name in methods]
    for dataset in datasets:
        for name in columns:
            theirs = [row.scores.get(dataset, {}).get(name) for row in published]
            ours = [measured.get((dataset, method), {}).get(name) for method in methods]
            groups = [theirs, ours] if dataset in apart else [theirs + ours]
            marks = [mark for group in groups for mark in ranks(group, MEASURES[name].higher_is_better, digits)]
            texts = [number(value, min(digits, PUBLISHED_DIGITS)) for value in theirs]
            texts += [number(value, digits) for value in ours]
            for row, text, mark in zip(rows, texts, marks, strict=True):
                row.append(Cell(text, mark))
    is_staged = all(one.map for group in results.values() for one in group)
    header = [Head("map" if is_staged else "method", is_number=False), Head("numbers", is_number=False)]
    header += [Head(heading(name), latex_heading(name)) for _ in datasets for name in columns]
    spans = [("", 2), *((dataset, len(columns)) for dataset in datasets)] if len(datasets) > 1 else []
    if not published:
        rows, header = [[row[0], *row[2:]] for row in rows], [header[0], *header[2:]]
        spans = [("", 1), *spans[1:]] if spans else []
    notes = [*set_notes(results), *how_notes(columns, protocol, digits), *context, *_published_notes(published, apart)]
    return Table(title, header, rows, notes, frozenset({len(published)}) if published else frozenset(), spans)


def comparable(results: Sequence[SetScores], protocol: str) -> bool:
    """Return whether published numbers of this data set are for the same images and protocol."""
    return protocol != "raw" and all(count_note(one.dataset, "test", len(one.rows)) is None for one in results)


def set_notes(results: Mapping[str, Sequence[SetScores]]) -> list[str]:
    """Return notes on each data set: number of images, field of view, MAE of an empty map, maps that were resized."""
    notes = []
    for dataset, group in results.items():
        images = len(group[0].rows)
        incomplete = count_note(dataset, "test", images)
        counted = (
            f"{incomplete}; not the published test set"
            if incomplete
            else f"{dataset}: {images} image{'s' * (images != 1)}"
        )
        view = VIEW if group[0].in_view else ""
        empty = group[0].values("object_share").mean()
        notes.append(f"{counted}{view}; a map that is background everywhere has MAE {empty:.4f}.")
        resized = ", ".join(f"{one.resized} of {one.label}" for one in group if one.resized)
        if resized:
            notes.append(f"{dataset}: maps of another size than their mask: {resized}.")
    return notes


def short_note(protocol: str) -> str:
    """Return the note on the protocol for tables other than the main one."""
    return f"Protocol {protocol}, at the mask's size; measures, thresholds and resizing as under the scores."


def how_notes(columns: Sequence[str], protocol: str, digits: int) -> list[str]:
    """Return notes on protocol, size, thresholds, rounding and ranking."""
    measures = "; ".join(f"{MEASURES[name].label}: {MEASURES[name].meaning}" for name in columns)
    return [
        f"Protocol {PROTOCOLS[protocol]}.",
        "Scored at the mask's size; a map of another size is resized bilinearly (without antialiasing).",
        "A mask's object is what lies above half of its file's range: grey 128 to 255, or 1 of 0/1.",
        f"{measures}.",
        f"Means over images, printed with {digits} decimals; best bold, second underlined, "
        "ranked as printed, equal numbers share a mark.",
    ]


def _published_notes(published: Sequence[PublishedRow], apart: Sequence[str]) -> list[str]:
    if not published:
        return []
    printed = ", ".join(MEASURES[name].label for name in CELLS)
    notes = [f"Published: {SOURCE}, as printed there ({printed}); a dash: not reported. Not measured here."]
    if apart:
        notes.append(
            f"{', '.join(apart)}: other images or another protocol than the published rows; ranked apart from them."
        )
    return notes
