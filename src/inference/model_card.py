"""The model card of a network's folder: what it is and is for, its measures and protocol, and its licence terms."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from src.checkpoints.weights_file import training_sets
from src.utils.errors import UserError

TEMPLATE = Path(__file__).with_suffix(".md")
SHOWN = ("s_alpha", "e_mean", "f_weighted", "mae", "dice_mean", "iou_mean", "dice", "iou")
"""Measures that the card shows; a `metrics.csv` holds all of them."""

Metrics = Mapping[str, Mapping[str, float]]
"""Test set → measure → value."""


def card_text(config: Mapping[str, Any], note: str, network: str, name: str, metrics: Metrics | Path | None) -> str:
    """Return the card's Markdown, without its metadata.

    Args:
        config: the resolved configuration of the training.
        note: the licence note of the weights.
        network: what the network is called, e.g. ``RUN``.
        name: of the repository or the folder, from which the weights are opened.
        metrics: measures by test set, or a ``metrics.csv`` of `src.train`, `src.eval` or `src.score`.

    Raises:
        UserError: a measure that this project does not have, or a file that holds none.
    """
    given, how = read_metrics(metrics) if isinstance(metrics, Path) else (metrics or {}, "")
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=name.rpartition("/")[2],
        network=network,
        encoder=config["model"]["net"].get("encoder", {}).get("name", "of its own"),
        source=name,
        measures=f"{_table(given)}\n\n{how or _protocol(config)}" if given else "None were given.",
        training=_training(config),
        licence=f"{note[:1].upper()}{note[1:]}." if note else "The data of the training are not recorded.",
    )


def read_metrics(path: Path) -> tuple[Metrics, str]:
    """Return the final mask's measures in a ``metrics.csv`` and a sentence on how they were made.

    Raises:
        UserError: no such file, or not one that this project wrote.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("numbers") == "measured"]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"metrics: {path} cannot be read ({error})") from error
    if not rows or not {"dataset", "protocol", "images"} <= rows[0].keys():
        raise UserError(f"metrics: {path} is no metrics.csv of src.train, src.eval or src.score")
    final = {row["dataset"]: row for row in rows}  # the last row of a set: stages come before the final mask
    found = {dataset: {name: float(row[name]) for name in SHOWN if row.get(name)} for dataset, row in final.items()}
    counts = ", ".join(f"{dataset} {row['images']} images" for dataset, row in final.items())
    return found, f"Protocol `{rows[-1]['protocol']}`; {counts}."


def _table(metrics: Metrics) -> str:
    from src.metrics.registry import MEASURES

    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    if unknown := [name for name in names if name not in MEASURES]:
        raise UserError(f"metrics: there is no measure {', '.join(unknown)}; known are {', '.join(MEASURES)}")
    header = ["test set", *(f"{MEASURES[name].label} {MEASURES[name].arrow}" for name in names)]
    rows = [
        [dataset, *(f"{values[name]:.4f}" if name in values else "" for name in names)]
        for dataset, values in metrics.items()
    ]
    ruler = ["---", *["---:"] * len(names)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, ruler, *rows))


def _protocol(config: Mapping[str, Any]) -> str:
    protocol = config["model"].get("metrics", {}).get("protocol")
    return f"Protocol `{protocol}`." if protocol else "The protocol is not recorded."


def _training(config: Mapping[str, Any]) -> str:
    data = config["data"]
    sets = " and ".join(training_sets(config)) if "train_sets" in data else "scenes drawn by the project itself"
    parts = [f"Trained on {sets} at {data['image_size']} × {data['image_size']} pixels"]
    parts += [f"starting from weights ({config['started_from']})"] if config.get("started_from") else []
    parts += [f"seed {config['seed']}"] if "seed" in config else []
    parts += [f"commit `{config['commit']}`"] if config.get("commit") else []
    return f"{', '.join(parts)}. `config.json` has every setting."
