"""Score the maps of any method: ``python -m src.score preds=FOLDER gts=FOLDER``, or several with ``spec=FILE.yaml``."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig
from rich.progress import track

from src.cli.command import command, console
from src.data.maps import read_map
from src.data.readers import read_image, read_mask
from src.metrics import MEASURES, STANDARD
from src.metrics.checks import check_extra, check_protocol
from src.report.figures.figure import plain
from src.report.figures.gallery import Panel, error_map
from src.report.files import check_new_folder
from src.report.write import Report, ReportOptions, write_report
from src.scoring.folders import MapFiles, Spec, find_problems, folder_spec, pair_files, read_spec, resize_map, score_files
from src.scoring.pool import WorkerPool
from src.scoring.scores import SetScores
from src.utils.errors import Problems, UserError

Jobs = dict[tuple[str, str], list[MapFiles]]


def score_maps_of(cfg: DictConfig) -> dict[str, list[SetScores]]:
    """Score the folders that ``cfg`` names and write the report into ``cfg.paths.output_dir``, whole or not at all.

    Returns:
        Data set → the scores of its methods.

    Raises:
        UserError: anything wrong with settings, folders or files, all at once; nothing is written then.
    """
    output, options = Path(cfg.paths.output_dir), instantiate(cfg.report)
    protocol, extra = cfg.metrics.protocol, tuple(cfg.metrics.extra)
    start, problems, pool = time.perf_counter(), Problems(), WorkerPool(0)
    with problems.catch():
        pool = WorkerPool(cfg.workers)
    spec = _checked_spec(cfg, options, problems)
    jobs = pair_files(spec, problems)
    count = sum(map(len, jobs.values()))
    with pool:
        problems += find_problems(jobs, pool)
        problems.raise_all(f"nothing was scored or written, {problems.total}:")
        results = _scored(jobs, protocol, extra, pool, problems)
    problems.raise_all(f"nothing was scored or written, {problems.total}:")
    seconds = time.perf_counter() - start
    report = Report(", ".join(spec.methods), protocol, results, lambda dataset, image: _panels(jobs, dataset, image, protocol))
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".") as partial:
        write_report(Path(partial) / output.name, report, options, console())
        (Path(partial) / output.name).rename(output)
    console().print(
        f"Scored: {count} map{'s' * (count != 1)} in {seconds:.1f} s ({count / seconds:.0f}/s, {pool.workers} workers)", highlight=False
    )
    console().print(f"Written: {output}/ (open report.html; tables: metrics.{{md,tex,csv}}; per_image.csv)", highlight=False)
    return results


def _checked_spec(cfg: DictConfig, options: ReportOptions, problems: Problems) -> Spec:
    """The spec; empty if it cannot be read. What is wrong with it and with the settings is added to ``problems``."""
    spec, measures = Spec({}, {}), list(STANDARD)
    with problems.catch():
        spec = _spec(cfg)
    with problems.catch():
        check_protocol(cfg.metrics.protocol)
    with problems.catch():
        measures += check_extra(cfg.metrics.extra)
    looking = [name for name in measures if MEASURES[name].needs_image]
    blind = [name for name, folders in spec.sets.items() if folders.images is None]
    with problems.catch():
        if looking and blind:
            raise UserError(f"metrics.extra: {', '.join(looking)} looks at the images of {', '.join(blind)}: add images=FOLDER")
    with problems.catch():
        options.check(measures, list(spec.sets), list(spec.methods))
    with problems.catch():
        check_new_folder(Path(cfg.paths.output_dir))
    return spec


def _spec(cfg: DictConfig) -> Spec:
    if cfg.spec is not None:
        if cfg.preds is not None or cfg.gts is not None:
            raise UserError("give either spec=FILE.yaml, or preds=FOLDER and gts=FOLDER")
        return read_spec(Path(cfg.spec))
    if cfg.preds is None or cfg.gts is None:
        raise UserError("nothing to score: add preds=FOLDER gts=FOLDER, or spec=FILE.yaml")
    return folder_spec(cfg.preds, cfg.gts, cfg.images, cfg.fovs, cfg.method, cfg.set)


def _scored(jobs: Jobs, protocol: str, extra: tuple[str, ...], pool: WorkerPool, problems: list[str]) -> dict[str, list[SetScores]]:
    pairs = [(key, files) for key, group in jobs.items() for files in group]
    scored = pool.map(score_files, ((files, protocol, extra) for _, files in pairs))
    found: dict[tuple[str, str], SetScores] = {}
    bar = track(scored, "Scoring", total=len(pairs), console=console(), transient=True)
    for (key, _), one in zip(pairs, bar, strict=True):
        if isinstance(one, str):
            problems.append(one)
        else:
            found.setdefault(key, SetScores(*key)).add(one)
    results: dict[str, list[SetScores]] = {}
    for (dataset, _), scores in found.items():
        results.setdefault(dataset, []).append(scores)
    return results


def _panels(jobs: Jobs, dataset: str, image: str, protocol: str) -> list[Panel]:
    """The image where there is one, the truth, and each method's errors; of a single method its map too."""
    group = {method: next(f for f in files if f.image == image) for (name, method), files in jobs.items() if name == dataset}
    truth = read_mask(next(iter(group.values())).gt)
    source = next(iter(group.values())).source
    panels: list[Panel] = [] if source is None else [("image", read_image(source))]
    panels.append(("truth", truth.astype(np.float64)))
    for method, files in group.items():
        pred = read_map(files.pred)
        pred = resize_map(pred, truth.shape) if pred.shape != truth.shape else pred
        if len(group) == 1:
            panels.append((plain(method), pred))
        valid = None if files.fov is None else read_mask(files.fov)
        panels.append(("errors" if len(group) == 1 else plain(method), error_map(pred, truth, protocol, valid)))
    return panels


@command("score")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`score_maps_of`."""
    score_maps_of(cfg)


if __name__ == "__main__":
    main()
