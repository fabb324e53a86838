"""The jobs of a multirun, grouped by configuration: their seeds, comparison with a reference, and network costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from src.checkpoints.network import untrained_network
from src.checkpoints.upgrade import upgrade_config
from src.models.cost import count_parts
from src.report.statistics import Comparison, compare_methods
from src.report.sweep.jobs import Job, read_jobs
from src.report.tables.columns import choose_columns, has_rows
from src.scoring.scores import DESCRIPTION, SetScores
from src.utils.errors import UserError
from src.utils.private import fake_tensors


@dataclass
class Group:
    """The jobs of one configuration, which differ in their seeds."""

    name: str
    jobs: list[Job]
    parameters: float = math.nan
    """Parameters of its network; NaN if unknown."""
    gmacs: float = math.nan
    """GMACs of its network for one image; NaN if unknown."""

    @property
    def finished(self) -> list[Job]:
        """The jobs that have finished."""
        return [job for job in self.jobs if job.state == "finished"]

    @property
    def holdout(self) -> list[float]:
        """The best S_α on the hold-out of each finished job that logged one."""
        return [job.best for job in self.finished if not math.isnan(job.best)]

    def means(self, dataset: str, measure: str) -> list[float]:
        """Return the mean over the data set's images, for each finished job."""
        return [
            float(one.values(measure).mean()) for job in self.finished for one in job.scores if one.dataset == dataset
        ]


@dataclass
class Sweep:
    """Groups of jobs, and for each data set the comparisons of `reference` (None: no reference) with every other."""

    groups: list[Group]
    columns: list[str]
    datasets: list[str]
    protocol: str
    reference: str | None
    comparisons: dict[str, list[Comparison]]

    def marks(self, dataset: str) -> dict[tuple[str, str], str]:
        """Return (group, measure) → ▲ better or ▼ worse than the reference, where test and interval agree."""
        found = [one for one in self.comparisons.get(dataset, []) if one.better is not None]
        return {(one.second, one.measure): "▲" if one.better == one.second else "▼" for one in found}


def collect(
    folder: Path, reference: str | None = None, columns: Sequence[str] | None = None, cost: bool = True
) -> Sweep:
    """Read a multirun's folder.

    Args:
        folder: the multirun's folder.
        reference: the group that the others are compared with; None: ``full``, or no comparison without such a group.
        columns: measures, or the name of a list; None: those of the data sets' task.
        cost: count parameters and GMACs of each group's network.

    Raises:
        UserError: not a multirun, an unknown reference or measure, jobs of different protocols.
    """
    jobs = read_jobs(folder)
    groups = [
        Group(name, [job for job in jobs if job.name == name]) for name in dict.fromkeys(job.name for job in jobs)
    ]
    scored = [job for job in jobs if job.state == "finished" and job.scores]
    protocols = {str(job.folder): job.protocol for job in scored}
    if len(set(protocols.values())) > 1:
        raise UserError(
            "these jobs were tested with different protocols:", [f"{path}: {name}" for path, name in protocols.items()]
        )
    names = [group.name for group in groups]
    if reference is not None and reference not in names:
        raise UserError(f"--reference {reference}: no such group; there are {', '.join(names)}")
    chosen = reference or ("full" if "full" in names else None)
    datasets = list(dict.fromkeys(one.dataset for job in scored for one in job.scores))
    shown = _columns([one for job in scored for one in job.scores], columns, datasets) if scored else []
    if cost:
        for group in groups:
            config = next((job.config for job in group.jobs if "model" in job.config), None)
            group.parameters, group.gmacs = (math.nan, math.nan) if config is None else network_cost(config)
    comparisons = {dataset: _compare(groups, dataset, shown, chosen) for dataset in datasets} if chosen else {}
    return Sweep(groups, shown, datasets, next(iter(protocols.values()), ""), chosen, comparisons)


def _columns(scores: Sequence[SetScores], wanted: Sequence[str] | None, datasets: Sequence[str]) -> list[str]:
    """Return the columns that are means over images; only these can be compared image by image."""
    available = [name for name in scores[0].measures if has_rows(name) and all(name in one.measures for one in scores)]
    asked = wanted[0] if wanted is not None and len(wanted) == 1 else wanted
    if asked is None:
        return [name for name in choose_columns(None, scores[0].measures, datasets) if name in available]
    return choose_columns(asked, available, datasets)


def _compare(groups: Sequence[Group], dataset: str, measures: Sequence[str], reference: str) -> list[Comparison]:
    averaged = [one for group in groups if (one := _over_seeds(group, dataset)) is not None]
    if len(averaged) < 2 or reference not in [one.method for one in averaged]:
        return []
    return compare_methods(averaged, measures, reference)


def _over_seeds(group: Group, dataset: str) -> SetScores | None:
    """Average each image's scores over the seeds; images that some seed lacks are left out."""
    runs = [
        {row["image"]: row for row in one.rows}
        for job in group.finished
        for one in job.scores
        if one.dataset == dataset
    ]
    if not runs:
        return None
    merged = SetScores(dataset, group.name)
    for image, first in runs[0].items():
        if all(image in rows for rows in runs):
            averaged = {
                name: float(np.mean([rows[image][name] for rows in runs])) for name in first if name not in DESCRIPTION
            }
            merged.rows.append({name: first[name] for name in DESCRIPTION} | averaged)
    return merged


def network_cost(config: Mapping[str, Any]) -> tuple[float, float]:
    """Return parameters and GMACs for one image of a run's network; NaN if it can no longer be built."""
    try:
        plain: dict[str, Any] = OmegaConf.to_container(OmegaConf.create(dict(config)), resolve=True)  # type: ignore[assignment]
        size = int(plain["data"]["image_size"])
        net = untrained_network(upgrade_config(plain)).eval()
        with fake_tensors():  # shapes only, no arithmetic
            total = count_parts(net, torch.rand(1, 3, size, size))[-1]
    except Exception:  # a configuration of another version of this project; its scores are still valid
        return math.nan, math.nan
    return float(total.parameters), total.gmacs
