"""What a test leaves behind: the table (Markdown, CSV, terminal), the scores of every image, and the gallery."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from src.module import COSModule
from src.report.gallery import save_gallery

COLUMNS = {
    "s_alpha": "S_α ↑",
    "e_mean": "E_φ mean ↑",
    "f_weighted": "F_β weighted ↑",
    "f_adp": "F_β adaptive ↑",
    "mae": "MAE ↓",
    "iou": "IoU ↑",
}
PROTOCOLS = {
    "field": "maps rounded to 8 bits, then min–max normalised one by one (the field's protocol)",
    "raw": "maps as the network gives them",
}


def write_results(output_dir: Path, module: COSModule, datamodule: Any, ckpt_path: Path | None, console: Console) -> None:
    """Write ``metrics.{md,csv}``, ``per_image.csv`` and ``gallery.png`` into ``output_dir`` and print the table.

    Args:
        module: after ``trainer.test``: its ``test_scores`` and ``test_rows`` are read.
        datamodule: its ``describe()`` says what was tested and how the model was selected.
    """
    output_dir.mkdir(parents=True, exist_ok=True)
    rows = [(dataset, stage, scores) for dataset, stages in module.test_scores.items() for stage, scores in stages.items()]
    footnotes = list(_footnotes(module, datamodule.describe(), ckpt_path))
    _write_csv(output_dir / "metrics.csv", [{"dataset": d, "map": stage, **scores} for d, stage, scores in rows])
    _write_csv(output_dir / "per_image.csv", module.test_rows)
    (output_dir / "metrics.md").write_text(_markdown(rows, footnotes), encoding="utf-8")
    save_gallery(output_dir / "gallery.png", module, datamodule.test_dataloader()[0])
    console.print(_rich(rows))
    for note in footnotes:
        console.print(f"[dim]{note}[/dim]", highlight=False)
    console.print(f"Written: {output_dir}/ (metrics.md, metrics.csv, per_image.csv, gallery.png)", highlight=False)


def _footnotes(module: COSModule, data: Mapping[str, Any], ckpt_path: Path | None) -> Iterable[str]:
    protocol = module.val_metrics.protocol
    yield f"How it was computed: {PROTOCOLS[protocol]}, at the mask's own size; input {data['image_size']} × {data['image_size']} px."
    yield "E_φ: mean over 256 thresholds; F_β adaptive: at twice the map's mean; IoU: at 0.5; β² = 0.3. Means over images."
    for dataset in module.test_scores:
        shares = [row["object_share"] for row in module.test_rows if row["dataset"] == dataset]
        yield f"{dataset}: {len(shares)} images; a map that is background everywhere has MAE {sum(shares) / len(shares):.4f}."
    if ckpt_path is not None:
        selection = f", selected on: {data['selected_on']}" if ckpt_path.stem == "best" else ", not selected on anything"
        yield f"Checkpoint: {ckpt_path.name}{selection}."
    yield from (f"{note}." for note in data["notes"])


def _cells(scores: Mapping[str, float]) -> list[str]:
    return [f"{scores[name]:.4f}" for name in COLUMNS]


def _markdown(rows: list[tuple[str, str, dict[str, float]]], footnotes: list[str]) -> str:
    header = ["data set", "map", *COLUMNS.values()]
    lines = ["| " + " | ".join(header) + " |", "|---|---|" + "---:|" * len(COLUMNS)]
    lines += ["| " + " | ".join([dataset, stage, *_cells(scores)]) + " |" for dataset, stage, scores in rows]
    return "\n".join([*lines, "", *(f"- {note}" for note in footnotes)]) + "\n"


def _rich(rows: list[tuple[str, str, dict[str, float]]]) -> Table:
    table = Table()
    for name in ("data set", "map"):
        table.add_column(name)
    for name in COLUMNS.values():
        table.add_column(name, justify="right")
    for i, (dataset, stage, scores) in enumerate(rows):
        is_final = i + 1 == len(rows) or rows[i + 1][0] != dataset
        table.add_row(dataset, stage, *_cells(scores), style="bold" if is_final else None, end_section=is_final)
    return table


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
