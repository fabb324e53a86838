"""Store a finished run's numbers, which the pages in docs/results are made from.

    python -m scripts.results.store RUN --model fpn_ds

``RUN`` is a training's folder. Test scores are read from it or from ``RUN/test``, hold-out scores from ``RUN/holdout``:

    python -m src.eval ckpt_path=RUN/checkpoints/best.ckpt split=holdout paths.output_dir=RUN/holdout

Evaluation variants (``rounds=2``, ``closing_step=false``, ``sharpness=2``) are read from every other folder in ``RUN``
that `src.eval` wrote.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.results.archive import (
    LAYOUTS,
    MEASURED,
    PROTOCOL,
    TASKS,
    TRAINING,
    Layout,
    Variant,
    read_table,
    typed,
    words,
)
from src.checkpoints.atomic_io import writable
from src.checkpoints.shipped import path_of
from src.checkpoints.weights_file import training_sets
from src.cli.command import console
from src.cli.script import ScriptParser
from src.data.datamodule import HOLDOUT
from src.report.files import read_image_rows
from src.report.sweep.groups import network_cost
from src.report.sweep.jobs import Job, read_job
from src.report.tables.table import Table, terminal
from src.utils.errors import Problems, UserError
from src.utils.revision import UNKNOWN
from src.utils.whole_file import write_whole

DEFAULT = Path("docs/results")
DIGITS = 6
WATCHED = r"unfolding/|val/gain_|gradient/|val/s_alpha|val/mae"


def store_run(
    run: Path, model: str, results: Path = DEFAULT, commit: str | None = None, replace: bool = False
) -> list[Path]:
    """Store the numbers of one run; for a run without scores, store only its row in `runs`.

    Args:
        run: the training's folder.
        model: its name in the tables.
        results: docs/results.
        commit: the run's commit, if the run did not record it.
        replace: replace stored numbers of the same training or evaluation.

    Returns:
        The tables that now hold the numbers.

    Raises:
        UserError: not a run, an unknown commit, scores of another protocol, two evaluations of one kind, or
            different numbers of the run are stored already. Nothing is written in these cases.
    """
    job = read_job(run)
    if "model" not in job.config or "data" not in job.config:
        raise UserError(f"{run}: holds no config.yaml of a training")
    own = job.config.get("commit", UNKNOWN)
    commit = commit if own == UNKNOWN else own
    if not commit:
        raise UserError(f"{run}: its config.yaml does not say of which commit it is; name it with --commit")
    training, log = _training(job, model, commit), _log(run)
    rows: dict[str, list[pd.DataFrame]] = {"runs": [pd.DataFrame([training])]}
    for folder, split, variant in _evaluations(run, training["size"]):
        about = {"split": split, "size": training["size"], "network": model, "seed": training["seed"], "commit": commit}
        for name, frame in _scores(folder, variant, {} if split == "test" else _gains(log)):
            rows.setdefault(name, []).append(frame.assign(**about))
    if "images" in rows:
        rows["epochs"] = [_epochs(log).assign(**{name: training[name] for name in [*TRAINING, "commit"]})]
    return store({name: pd.concat(frames) for name, frames in rows.items()}, results, replace)


def store(new: Mapping[str, pd.DataFrame], results: Path = DEFAULT, replace: bool = False) -> list[Path]:
    """Put rows into the tables: either all of them or, if different numbers are stored already, none.

    Args:
        new: table → rows with its columns; the rows of each training in the order in which they are shown.
        results: docs/results.
        replace: replace stored rows of the same training or evaluation.

    Returns:
        The files of these tables. A file that already has the rows is not written again.

    Raises:
        UserError: different numbers are stored already, or a table cannot be read or written.
    """
    folder, problems = results / "data", Problems()
    rows = {name: typed(frame[LAYOUTS[name].columns]) for name, frame in new.items()}
    with writable(folder), _locked(folder):
        stored = {name: read_table(results, name, problems) for name in rows}
        problems += (
            [] if replace else [line for name in rows for line in _differing(LAYOUTS[name], stored[name], rows[name])]
        )
        problems.raise_all(f"{folder}: nothing was stored:")
        for name in rows:
            _write(folder / LAYOUTS[name].file, _text(_merged(LAYOUTS[name].group, stored[name], rows[name])))
    return [folder / LAYOUTS[name].file for name in rows]


def identity(config: Mapping[str, Any], test_set: str, model: str, source: Path) -> dict[str, Any]:
    """Return the columns that identify a network's measurements on its hold-out.

    Args:
        config: the network's configuration.
        test_set: the hold-out's name (`src.pipeline.reopen.load_trained_run` gives both).
        model: the network's name in the tables.
        source: its checkpoint, for the message.

    Raises:
        UserError: the configuration does not record the network's commit.
    """
    if config.get("commit", UNKNOWN) == UNKNOWN:
        raise UserError(f"{source}: does not say of which commit it is; its numbers cannot be stored")
    found = {"dataset": test_set.removesuffix(HOLDOUT), "split": "holdout", "size": int(config["data"]["image_size"])}
    return found | {"network": model, "seed": int(config["seed"]), "commit": config["commit"]}


def store_findings(
    description: str | None,
    name: str,
    measure: Callable[[Path, Path | None, str], pd.DataFrame],
    show: Callable[[pd.DataFrame], Table],
) -> None:
    """Run the command line of a script that measures a checkpoint of RUN, and prints and stores the result.

    Args:
        description: the script's description, for `--help`.
        name: the table that the rows are stored in.
        measure: returns the rows for a checkpoint, the data root (None: that of the training) and the network's name
            in the tables.
        show: makes a table to print from the rows.
    """
    parser = ScriptParser(description)
    parser.add_argument("checkpoint", type=path_of)
    parser.add_data_root(of_training=True)
    parser.add_argument("--model", default="run", help="its name in the tables (default: %(default)s)")
    parser.add_argument(
        "--results", type=Path, default=DEFAULT, help="where the numbers are stored (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="replace stored numbers that differ")

    def look(arguments: argparse.Namespace) -> None:
        rows = measure(arguments.checkpoint, arguments.data_root, arguments.model)
        console().print(terminal(show(rows)))
        _print_stored(store({name: rows.round(DIGITS)}, arguments.results, arguments.replace))

    parser.run(look)


def main() -> None:
    """Run the command line of :func:`store_run`."""
    parser = ScriptParser("Store a finished run's numbers in docs/results.")
    parser.add_argument("run", type=Path, help="the training's folder")
    parser.add_argument(
        "--model", required=True, help="its name in the tables: run, fpn_ds, …; run-X: without X; run+X: with X"
    )
    parser.add_argument("--results", type=Path, default=DEFAULT, help=f"default: {DEFAULT}")
    parser.add_argument("--commit", help="the run's commit, if the run did not record it")
    parser.add_argument("--replace", action="store_true", help="replace stored numbers that differ")
    parser.run(_store)


def _store(arguments: argparse.Namespace) -> None:
    _print_stored(store_run(arguments.run, arguments.model, arguments.results, arguments.commit, arguments.replace))


def _print_stored(paths: Sequence[Path]) -> None:
    for path in paths:
        console().print(f"Stored: {path}", highlight=False)


def _evaluations(run: Path, image_size: int) -> list[tuple[Path, str, Variant]]:
    """Return folder, split and variant of all evaluations at the training's size, without prompts and flips.

    If none of them is the plain test, that of the training itself is used.
    """
    found: dict[tuple[str, Variant], Path] = {}
    for folder in sorted(path.parent for path in run.glob("*/per_image.csv")):
        config = read_job(folder).config
        if not {"split", *Variant._fields} <= config.keys():
            raise UserError(f"{folder}: was not written by src.eval, or has lost its .hydra/config.yaml")
        other_size = (config.get("data") or {}).get("image_size") not in (None, image_size)
        if config.get("prompts") is not None or config.get("flip") or other_size:
            continue  # not what the tables show
        closing_step = {None: "null", True: "true", False: "false"}[config["closing_step"]]
        same = found.setdefault(
            (config["split"], Variant(config["rounds"], closing_step, float(config["sharpness"]))), folder
        )
        if same != folder:
            raise UserError(f"{same} and {folder} were evaluated in the same way: remove one of them")
    if (run / "per_image.csv").is_file():
        found.setdefault(("test", Variant()), run)
    return [(folder, split, variant) for (split, variant), folder in found.items()]


def _scores(folder: Path, variant: Variant, gains: Mapping[str, float]) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield table → rows of one evaluation; rows of `stages` only if the network is evaluated as it was trained."""
    protocol, found = read_image_rows(folder / "per_image.csv")
    if protocol != PROTOCOL:
        raise UserError(f"{folder / 'per_image.csv'}: has the protocol {protocol}; only {PROTOCOL} is stored")
    stages = _csv(folder / "metrics.csv")
    for scores in found:
        dataset = scores.dataset.removesuffix(HOLDOUT)
        extra = TASKS.get(dataset, ())
        if lacking := [name for name in (*MEASURED, *extra) if name not in scores.measures]:
            advice = "(metrics.extra=[auc] for auc)"
            raise UserError(f"{folder / 'per_image.csv'}: lacks {', '.join(lacking)} of {scores.dataset} {advice}")
        rows = pd.DataFrame(scores.rows).sort_values("image").round(DIGITS).assign(dataset=dataset, **variant._asdict())
        yield "images", rows
        if extra:
            yield "tasks", rows.assign(**{name: math.nan for name in LAYOUTS["tasks"].values if name not in extra})
        if variant == Variant():
            own = stages[(stages["numbers"] == "measured") & (stages["dataset"] == scores.dataset)]
            maps = own["map"].astype(object).fillna("M")
            yield (
                "stages",
                own.round(DIGITS).assign(dataset=dataset, map=maps, gain=maps.map(gains).astype(float).round(DIGITS)),
            )


def _log(run: Path) -> pd.DataFrame:
    """Return what a run and its resumptions logged, in chronological order."""
    paths = sorted(run.glob("logs/version_*/metrics.csv"), key=lambda path: int(path.parent.name.rpartition("_")[2]))
    return pd.concat([*map(_csv, paths)] or [pd.DataFrame(columns=["epoch", "val/s_alpha"])], ignore_index=True)


def _gains(log: pd.DataFrame) -> dict[str, float]:
    """Return M_k or M̂_k → mean|M_{k−1} − G| − mean|M̂_k − G| on the hold-out, at the best checkpoint's epoch."""
    scored = log.dropna(subset="val/s_alpha").sort_values("val/s_alpha", ascending=False, kind="stable")
    best = scored.filter(like="val/gain_").head(1).melt(value_name="gain").dropna()
    gains = dict(zip(best["variable"].str.removeprefix("val/gain_"), best["gain"], strict=True))
    # The closing step has only one map, M̂_{K+1}.
    return {f"{symbol}_{k}": gain for k, gain in gains.items() for symbol in ("M", "M̂")}


def _epochs(log: pd.DataFrame) -> pd.DataFrame:
    """Return the logged values of `WATCHED` by epoch; if an epoch was repeated after a crash, its last values."""
    watched = log.set_index("epoch").filter(regex=f"^({WATCHED})").rename(lambda epoch: int(epoch) + 1)
    rows = watched.melt(var_name="name", ignore_index=False).reset_index().dropna()
    rows["value"] = [float(f"{value:.{DIGITS}g}") for value in rows["value"]]
    return rows.drop_duplicates(["epoch", "name"], keep="last").sort_values(["epoch", "name"])


def _training(job: Job, model: str, commit: str) -> dict[str, Any]:
    config = job.config
    parameters, gmacs = network_cost(config)
    return {
        "dataset": "+".join(training_sets(config) or ["synthetic"]),
        "size": int(config["data"]["image_size"]),
        "network": model,
        "seed": int(config["seed"]),
        "commit": commit,
        "epochs": job.epochs or int(config["trainer"]["max_epochs"]),  # the log of a copied run may be missing
        "lr": float(config["model"]["optimizer"]["lr"]),
        "parameters": parameters,
        "gmacs": round(gmacs, DIGITS),
        "hours": round(job.seconds / 3600, 4) if job.seconds else math.nan,
        "holdout_s_alpha": round(job.best, DIGITS),
    }


def _csv(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def _differing(layout: Layout, stored: pd.DataFrame, new: pd.DataFrame) -> Iterator[str]:
    """Yield a problem for each group of ``new`` that is stored with different numbers."""
    before = dict(iter(stored.merge(new[layout.group].drop_duplicates()).groupby(layout.group)))
    for key, rows in new.groupby(layout.group) if before else ():
        if key in before and _text(before[key]) != _text(rows):
            group = words(rows.iloc[0], layout.group)
            yield f"{layout.file}: other numbers of {group} are stored (replace them with --replace)"


def _merged(group: list[str], stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Return ``stored`` with the groups of ``new`` replaced, sorted by group; the order within a group is kept."""
    replaced = pd.MultiIndex.from_frame(stored[group]).isin(pd.MultiIndex.from_frame(new[group]))
    return pd.concat([stored[~replaced], new]).sort_values(group, kind="stable", ignore_index=True)


def _text(frame: pd.DataFrame) -> str:
    """Return a table as CSV; floats keep all their digits."""
    return frame.to_csv(index=False, lineterminator="\n")


def _write(path: Path, text: str) -> None:
    """Replace a file atomically, unless it has this text already.

    Texts are compared, not compressed bytes, because versions of zlib compress to different bytes.
    """
    is_packed = path.suffix == ".gz"
    before = path.read_bytes() if path.exists() else b""
    content = text.encode()
    if (gzip.decompress(before) if is_packed and before else before) == content:
        return
    write_whole(path, gzip.compress(content, mtime=0) if is_packed else content)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder in the block, so that trainings that end at the same time store their numbers in turn.

    Each then reads what the one before it wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
