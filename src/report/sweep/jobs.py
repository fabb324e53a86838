"""The jobs of a multirun folder: configuration, progress and scores of each."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from src.cli.job_record import FILE, read_record
from src.loggers.tracker import short_override
from src.report.files import read_image_rows
from src.scoring.scores import SetScores
from src.utils.errors import UserError

REPLICATES = frozenset({"seed", "data.seed", "ckpt_path", "paths.output_dir"})
"""Overrides that repeat, resume or move a configuration, but do not change it."""


@dataclass
class Job:
    """One folder of a multirun.

    Attributes:
        folder: the job's folder.
        overrides: key → value of the job's overrides.
        state: finished, failed, running, waiting (for a cluster) or stopped (its process is gone).
        why: what is known about the state.
        config: the resolved configuration; empty if there is none.
        epochs: the number of finished epochs.
        epoch_seconds: the median time of an epoch.
        seconds: the time of all epochs, without validation.
        best: the best S_α on the hold-out.
        protocol: of the test's scores.
        scores: the test's scores.
        name: the job's name in tables, as in `name_jobs`.
    """

    folder: Path
    overrides: dict[str, str]
    state: str
    why: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    epochs: int = 0
    epoch_seconds: float = math.nan
    seconds: float = 0.0
    best: float = math.nan
    protocol: str = ""
    scores: list[SetScores] = field(default_factory=list)
    name: str = ""

    @property
    def seed(self) -> str:
        """Return the seed as overridden or configured; – if there is none."""
        return self.overrides.get("seed", str(self.config.get("seed", "–")))


def read_jobs(folder: Path) -> list[Job]:
    """Return all jobs below a multirun's folder, by number; they are named as in `name_jobs`.

    Raises:
        UserError: no such folder, or no job of a multirun in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; name that of a multirun (`python -m src.train -m …`)")
    found = {path.parent.parent for path in folder.glob("**/.hydra/overrides.yaml")} - {folder}
    found |= {path.parent for path in folder.glob(f"**/{FILE}")}  # a job that waits has nothing else
    if not found:
        raise UserError(f"{folder}: holds no job of a multirun (looked for JOB/.hydra/overrides.yaml)")
    order = sorted(
        found, key=lambda path: (not path.name.isdecimal(), int(path.name) if path.name.isdecimal() else 0, str(path))
    )
    jobs = [read_job(path) for path in order]
    for job, name in zip(jobs, name_jobs([job.overrides for job in jobs]), strict=True):
        job.name = name
    return jobs


def read_job(folder: Path) -> Job:
    """Read one job.

    It is finished if job.json says so or the expected output exists: the test's scores or, with ``test=false``, all
    epochs.
    """
    record = read_record(folder)
    job = Job(
        folder, _overrides(folder / ".hydra" / "overrides.yaml", record.get("overrides")), "", config=_config(folder)
    )
    _read_logs(job)
    asked = int(job.config.get("trainer", {}).get("max_epochs") or 0)
    finished = _read_scores(job) if job.config.get("test", True) else 0 < asked <= job.epochs
    if finished or (record.get("state") == "finished" and not job.why):
        job.state = "finished"
    elif record.get("state") == "running":
        job.state, job.why = "running", f"on {record.get('host')}"
    elif record.get("state") == "waiting":
        job.state, job.why = "waiting", record["why"]
    elif record.get("state") == "failed":
        job.state, job.why = "failed", record["error"]
    else:
        job.state, job.why = "stopped", job.why or record.get("why") or "its process is gone; ckpt_path=last resumes it"
    return job


def name_jobs(overrides: Sequence[dict[str, str]]) -> list[str]:
    """Return a name for each job: the overrides in which the jobs differ, without seeds; of an ablation just its name.

    >>> name_jobs([{"ablation": "full", "seed": "0"}, {"ablation": "no_robe", "seed": "0"}])
    ['full', 'no_robe']
    >>> name_jobs([{"model.net.num_stages": "1"}, {"model.net.num_stages": "4"}, {}])
    ['num_stages=1', 'num_stages=4', 'default']
    """
    keys = [key for key in dict.fromkeys(key for one in overrides for key in one) if key not in REPLICATES]
    varying = [key for key in keys if len({one.get(key) for one in overrides}) > 1]
    return [", ".join(short_override(key, one[key]) for key in varying if key in one) or "default" for one in overrides]


def _overrides(path: Path, noted: Sequence[str] | None) -> dict[str, str]:
    """Return the overrides that the job recorded; without a record, those that Hydra stored for the last command."""
    try:
        lines = OmegaConf.to_container(OmegaConf.load(path)) if noted is None else list(noted)
    except (OSError, YAMLError, OmegaConfBaseException):
        lines = []
    pairs = (str(line).lstrip("+~").split("=", 1) for line in (lines if isinstance(lines, list) else []))
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


def _config(folder: Path) -> dict[str, Any]:
    """Return the resolved configuration of the run, or what Hydra composed if the job never started."""
    for path in (folder / "config.yaml", folder / ".hydra" / "config.yaml"):
        try:
            loaded = OmegaConf.to_container(OmegaConf.load(path))
        except (OSError, YAMLError, OmegaConfBaseException):
            continue
        if isinstance(loaded, dict):
            return {str(key): value for key, value in loaded.items()}
    return {}


def _read_scores(job: Job) -> bool:
    path = job.folder / "per_image.csv"
    if not path.is_file():
        return False
    try:
        job.protocol, job.scores = read_image_rows(path)
    except UserError as error:
        job.why = str(error)
        return False
    return True


def _read_logs(job: Job) -> None:
    """Set epochs, seconds and the best hold-out S_α from all logs of a run and its resumptions."""
    seconds, alphas, epochs = list[float](), list[float](), [-1]
    for path in job.folder.glob("logs/version_*/metrics.csv"):
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error):
            continue
        for row in rows:
            if row.get("epoch_seconds"):
                seconds.append(float(row["epoch_seconds"]))
                epochs.append(int(row["epoch"]))
            if row.get("val/s_alpha"):
                alphas.append(float(row["val/s_alpha"]))
    job.epochs = max(epochs) + 1
    job.epoch_seconds, job.seconds = median(seconds) if seconds else math.nan, sum(seconds)
    job.best = max(alphas, default=math.nan)
