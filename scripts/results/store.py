"""Keep a finished run's numbers: ``python -m scripts.results.store RUN --model fpn_ds``; docs/results.md is made of what is kept.

``RUN`` is a training's folder. Test scores are read from it or from ``RUN/test``, those of the hold-out from ``RUN/holdout``:

    python -m src.eval ckpt_path=RUN/checkpoints/best.ckpt split=holdout paths.output_dir=RUN/holdout

What was read otherwise lies in ``RUN/test…`` and ``RUN/holdout…`` and is kept as the network ``MODEL…``: ``_rounds2`` for ``rounds=2``,
``-closing_step`` for ``closing_step=false``, ``_x2`` for ``sharpness=2``.
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.results.archive import COLUMNS, EPOCH_COLUMNS, MEASURED, READING, SPLITS, TASKS, TWO_ROUNDS, Gains, Key, Starts, file_name
from src.checkpoints.atomic_io import writable
from src.cli.command import console
from src.cli.script import ScriptParser
from src.data.datamodule import HOLDOUT
from src.report.files import read_image_rows
from src.report.network import rounds_of
from src.report.sweep.groups import network_cost
from src.report.sweep.jobs import Job, read_job
from src.scoring.scores import SetScores
from src.utils.errors import UserError
from src.utils.revision import UNKNOWN

DEFAULT = Path("docs/results")
DIGITS = 6
PROTOCOL = "field"
WATCHED = ("unfolding/", "val/gain_", "gradient/", "val/s_alpha", "val/mae")


def store_run(run: Path, model: str, results: Path = DEFAULT, commit: str | None = None, replace: bool = False) -> list[Path]:
    """Write the rows of one run below ``results``; a run without any scores leaves the row of its training alone.

    Args:
        model: its name in the tables.
        commit: for a run that did not note its own.
        replace: put these numbers in the place of others of the same model, size and seed.

    Returns:
        The files, those that were there already included.

    Raises:
        UserError: no run, unknown commit, scores of another protocol, or other numbers stored under the same name. Nothing is written then.
    """
    job = read_job(run)
    if "model" not in job.config or "data" not in job.config:
        raise UserError(f"{run}: holds no config.yaml of a training")
    own = job.config.get("commit", UNKNOWN)
    commit = commit if own == UNKNOWN else own
    if not commit:
        raise UserError(f"{run}: its config.yaml does not say of which commit it is: name it with --commit")
    files: dict[Path, str] = {}
    for scores, folder, split, ending in _scores(run):
        named = model + ending
        key = Key(scores.dataset.removesuffix(HOLDOUT), split, int(job.config["data"]["image_size"]), named, int(job.config["seed"]))
        about = key._asdict() | {"commit": commit}
        files[results / file_name(key)] = _text(_image_rows(scores, about), "")
        if extra := TASKS.get(key.dataset):
            files[results / "tasks" / file_name(key)] = _text(_image_rows(scores, about, extra), "tasks")
        if not ending:
            gains = _gains(run) if split == "holdout" else {}
            files[results / "stages" / file_name(key)] = _text(_stage_rows(folder, scores.dataset, about, gains), "stages")
    training = _training_row(job, model, commit)
    if files:
        name = "{dataset}_{size}_{model}_seed{seed}.csv".format(**training)
        files[results / "epochs" / name] = _text(_epoch_rows(run, {key: training[key] for key in EPOCH_COLUMNS[:5]}), "epochs")
    name = "{dataset}_{size}_{model}_seed{seed}_epochs{epochs}_lr{lr:g}.csv".format(**training)
    files[results / "runs" / name] = _text([training], "runs")
    _write(files, results, replace)
    return list(files)


def key_and_commit(config: Mapping[str, Any], test_set: str, model: str, source: Path) -> tuple[Key, str]:
    """Under which key and commit findings on a network's hold-out are stored.

    Args:
        config: the network's; test_set: the hold-out's name (`src.pipeline.reopen.load_trained_run` gives both).
        model: the network's name in the tables. source: its checkpoint, for the message.

    Raises:
        UserError: the configuration does not say of which commit the network is.
    """
    if config.get("commit", UNKNOWN) == UNKNOWN:
        raise UserError(f"{source}: does not say of which commit it is; numbers of it cannot be kept")
    key = Key(test_set.removesuffix(HOLDOUT), "holdout", int(config["data"]["image_size"]), model, int(config["seed"]))
    return key, config["commit"]


def store_starts(key: Key, commit: str, starts: Starts, results: Path = DEFAULT, replace: bool = False) -> Path:
    """Write what :mod:`scripts.results.other_starts` has measured below ``results``; returns the file.

    Raises:
        UserError: other numbers are stored under the same name.
    """
    about = key._asdict() | {"commit": commit}
    rows = [
        about | {"start": start, "map": name} | {measure: round(scores[measure], DIGITS) for measure in ("s_alpha", "mae")}
        for start, maps in starts.items()
        for name, scores in maps.items()
    ]
    return _write_one(rows, "starts", key, results, replace)


def store_gains(key: Key, commit: str, gains: Gains, results: Path = DEFAULT, replace: bool = False) -> Path:
    """Write what :mod:`scripts.results.step_gains` has measured below ``results``; returns the file.

    Raises:
        UserError: other numbers are stored under the same name.
    """
    about = key._asdict() | {"commit": commit}
    rows = [about | {"part": part, "step": k, "gain": round(gain, DIGITS)} for part, values in gains.items() for k, gain in values.items()]
    return _write_one(rows, "gains", key, results, replace)


def _write_one(rows: Sequence[Mapping[str, Any]], kind: str, key: Key, results: Path, replace: bool) -> Path:
    path = results / kind / file_name(key)
    _write({path: _text(rows, kind)}, results, replace)
    return path


def main() -> None:
    """The command line of :func:`store_run`."""
    parser = ScriptParser("Keep a finished run's numbers in docs/results.")
    parser.add_argument("run", type=Path, help="the training's folder")
    parser.add_argument("--model", required=True, help="its name in the tables: run, fpn_ds, …; run-X: without X, run+X: with X")
    parser.add_argument("--results", type=Path, default=DEFAULT, help=f"default: {DEFAULT}")
    parser.add_argument("--commit", help="for a run that did not note its own")
    parser.add_argument("--replace", action="store_true", help="put these numbers in the place of stored ones")
    parser.run(_store)


def _store(arguments: argparse.Namespace) -> None:
    for path in store_run(arguments.run, arguments.model, arguments.results, arguments.commit, arguments.replace):
        console().print(f"Stored: {path}", highlight=False)


def _write(files: Mapping[Path, str], results: Path, replace: bool) -> None:
    """All files or, where other numbers are stored, none."""
    different = [path for path, text in files.items() if path.exists() and path.read_text(encoding="utf-8") != text]
    if different and not replace:
        raise UserError("other numbers are stored there (replace them with --replace):", [str(path) for path in different])
    with writable(results):
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_name(f".{path.name}.tmp")
            unfinished.write_text(text, encoding="utf-8")
            os.replace(unfinished, path)


def _scores(run: Path) -> Iterable[tuple[SetScores, Path, str, str]]:
    """Every scored set of a run with the folder of its report, its split, and what its network's name ends in."""
    places = [] if (run / "test").is_dir() else [(run, "test", "")]
    places += [(folder, split, folder.name.removeprefix(split)) for split in SPLITS for folder in sorted(run.glob(f"{split}*"))]
    if unknown := [str(folder) for folder, _, ending in places if not READING.fullmatch(ending)]:
        raise UserError(
            "not to be stored: names that do not say how it was read (test, holdout_rounds2, test-closing_step_x2, …):", unknown
        )
    for folder, split, ending in places:
        path = folder / "per_image.csv"
        if not path.is_file():
            continue
        protocol, found = read_image_rows(path)
        if protocol != PROTOCOL:
            raise UserError(f"{path}: has the protocol {protocol}; {PROTOCOL} is what is stored")
        for one in found:
            rounds, expected = rounds_of(one.method), 2 if ending.endswith(TWO_ROUNDS) else 1
            if rounds != expected:
                raise UserError(f"{path}: was read with rounds={rounds}; what lies in {folder.name} should be of rounds={expected}")
            lacking = [name for name in (*MEASURED, *TASKS.get(one.dataset.removesuffix(HOLDOUT), ())) if name not in one.measures]
            if lacking:
                raise UserError(f"{path}: lacks {', '.join(lacking)} of {one.dataset} (metrics.extra=[auc] for auc)")
        yield from ((one, folder, split, ending) for one in found)


def _image_rows(scores: SetScores, about: Mapping[str, Any], measures: Sequence[str] = MEASURED) -> Iterable[dict[str, Any]]:
    for row in sorted(scores.rows, key=lambda row: str(row["image"])):
        yield {**about, "image": row["image"]} | {name: round(row[name], DIGITS) for name in measures}


def _stage_rows(folder: Path, dataset: str, about: Mapping[str, Any], gains: Mapping[str, float]) -> Iterable[dict[str, Any]]:
    """The means by map, as the report beside the images' scores has them."""
    for row in _read(folder / "metrics.csv"):
        if row["numbers"] == "measured" and row["dataset"] == dataset:
            name = row["map"] or "M"
            gain = round(gains[name], DIGITS) if name in gains else ""
            yield {**about, "map": name} | {measure: round(float(row[measure]), DIGITS) for measure in MEASURED} | {"gain": gain}


def _gains(run: Path) -> dict[str, float]:
    """M_k or M̂_k → mean|M_{k−1} − G| − mean|M̂_k − G| on the hold-out, at the epoch of the best checkpoint."""
    rows = [row for path in sorted(run.glob("logs/version_*/metrics.csv")) for row in _read(path) if row.get("val/s_alpha")]
    best = max(rows, key=lambda row: float(row["val/s_alpha"]), default={})
    found = {name.removeprefix("val/gain_"): float(value) for name, value in best.items() if name.startswith("val/gain_") and value}
    return {f"{symbol}_{k}": gain for k, gain in found.items() for symbol in ("M", "M̂")}  # of the closing step, M̂_{K+1} alone is a map


def _epoch_rows(run: Path, about: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """What `WATCHED` names, epoch by epoch; of an epoch that was trained again after a crash the last."""
    found: dict[tuple[int, str], float] = {}
    for path in sorted(run.glob("logs/version_*/metrics.csv"), key=lambda path: int(path.parent.name.rpartition("_")[2])):
        for row in _read(path):
            found |= {(int(row["epoch"]) + 1, name): float(value) for name, value in row.items() if value and name.startswith(WATCHED)}
    for (epoch, name), value in sorted(found.items()):
        yield {**about, "epoch": epoch, "name": name, "value": f"{value:.{DIGITS}g}"}


def _training_row(job: Job, model: str, commit: str) -> dict[str, Any]:
    config = job.config
    parameters, gmacs = network_cost(config)
    sets = config["data"].get("train_sets") or ["synthetic"]
    return {
        "dataset": "+".join(sets),
        "size": int(config["data"]["image_size"]),
        "model": model,
        "seed": int(config["seed"]),
        "commit": commit,
        "epochs": job.epochs or int(config["trainer"]["max_epochs"]),  # the log of a copied run may be missing
        "lr": float(config["model"]["optimizer"]["lr"]),
        "parameters": "" if math.isnan(parameters) else int(parameters),
        "gmacs": _or_empty(gmacs),
        "hours": round(job.seconds / 3600, 4) if job.seconds else "",
        "holdout_s_alpha": _or_empty(job.best),
    }


def _or_empty(value: float) -> float | str:
    return "" if math.isnan(value) else round(value, DIGITS)


def _read(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _text(rows: Iterable[Mapping[str, Any]], kind: str) -> str:
    columns: Sequence[str] = COLUMNS[kind]
    memory = io.StringIO()
    writer = csv.DictWriter(memory, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return memory.getvalue()


if __name__ == "__main__":
    main()
