"""Test a network on one device and write its report."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig

from src.callbacks.progress import ProgressBar
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.cli.command import console
from src.cli.command_line import command_line, override
from src.distributed.signals import Interrupted, StopRequest, cause
from src.loggers.tracker import Tracker
from src.module import COSModule
from src.pipeline.clock import clock_for, report
from src.pipeline.preflight import Prepared
from src.report.network import write_results
from src.report.write import ReportOptions
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer
from src.utils.failures import explained


def final_test(prepared: Prepared, trainer: L.Trainer) -> dict[str, float]:
    """Test the checkpoint that is best on the hold-out (``train=false``: the given one), and log the report.

    Raises:
        Interrupted: Ctrl-C or SIGTERM, after the command that tests again was printed.
    """
    module, path = prepared.module, _tested_checkpoint(prepared, trainer)
    if path is not None:
        module = rebuild(read_checkpoint(path), path)
    try:
        with StopRequest(at_once=True):
            scores = run_test(module, prepared.datamodule, prepared.cfg.trainer, prepared.output_dir, path)
    except Interrupted as stop:
        command = command_line(prepared.output_dir, override("ckpt_path", path or ""), "train=false")
        print(f"stopped by {cause(stop.signal)} in the test; test again with: {command}", file=sys.stderr)
        raise
    for logger in trainer.loggers:
        if isinstance(logger, Tracker):
            logger.log_report(prepared.output_dir, scores)
    return scores


def _tested_checkpoint(prepared: Prepared, trainer: L.Trainer) -> Path | None:
    """Return the checkpoint to test; None: test the module as it is, since the training kept no best checkpoint."""
    if not prepared.cfg.train:
        return prepared.ckpt_path
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    return Path(best) if best else None


def run_test(
    module: COSModule,
    datamodule: Any,
    trainer_cfg: DictConfig,
    output_dir: Path,
    ckpt_path: Path | None,
    options: ReportOptions | None = None,
    workers: int | None = None,
    maps_dir: Path | None = None,
) -> dict[str, float]:
    """Test on one device, print the network's share of the time, and write the report.

    Args:
        module: the network and its measures.
        datamodule: holds the test sets.
        trainer_cfg: the group ``trainer``.
        output_dir: where the report is written.
        ckpt_path: the checkpoint that the weights come from, for the report; None: there is none.
        options: how the report is made.
        workers: threads that score (None: one per core); the numbers do not depend on it.
        maps_dir: where the maps are written, ``<maps_dir>/<SET>/<image>.png``; None: they are not written.

    Returns:
        The logged measures, by name.
    """
    start = time.perf_counter()
    trainer = score_test_sets(module, datamodule, trainer_cfg, workers, maps_dir)
    whole = time.perf_counter() - start
    report(trainer, lambda clock: clock.of_test(whole))
    write_results(output_dir, module, datamodule, ckpt_path, console(), options)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def score_test_sets(
    module: COSModule, datamodule: Any, trainer_cfg: DictConfig, workers: int | None, maps_dir: Path | None
) -> L.Trainer:
    """Leave the scores of the test sets in ``module.test_results``; loading, network and scoring overlap.

    Arguments as for `run_test`.

    Returns:
        The trainer that has tested.
    """
    # One process, even in a job of several.
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "plugins": [LightningEnvironment()]}
    callbacks = [ProgressBar()] if trainer_cfg.get("enable_progress_bar", True) else []
    trainer: L.Trainer = instantiate(trainer_cfg, **alone, logger=False, callbacks=callbacks, **clock_for(trainer_cfg))
    metrics = module.val_metrics
    with WorkerPool(workers) as pool:
        module.scorer = MapScorer(metrics.protocol, metrics.extra, pool, maps_dir)
        with explained(datamodule.sizes(train=False)):
            trainer.test(module, datamodule=datamodule, verbose=False)
    return trainer
