"""Test a network on one device and write its report."""

from __future__ import annotations

from pathlib import Path

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig

from src.callbacks.progress import ProgressBar
from src.cli.command import console
from src.module import COSModule
from src.report.network import write_results
from src.report.write import ReportOptions
from src.scoring.pool import WorkerPool
from src.scoring.scorer import MapScorer


def run_test(
    module: COSModule,
    datamodule: L.LightningDataModule,
    trainer_cfg: DictConfig,
    output_dir: Path,
    ckpt_path: Path | None,
    options: ReportOptions | None = None,
    workers: int | None = None,
    maps_dir: Path | None = None,
) -> dict[str, float]:
    """Test on one device and write the report; loading, network and scoring overlap.

    Args:
        workers: threads that score (None: one a core); the numbers do not depend on it.
        maps_dir: where the maps go, ``<maps_dir>/<SET>/<image>.png``; None: nowhere.
    """
    alone = {"devices": 1, "num_nodes": 1, "strategy": "auto", "plugins": [LightningEnvironment()]}  # also in a job of several processes
    callbacks = [ProgressBar()] if trainer_cfg.get("enable_progress_bar", True) else []
    trainer: L.Trainer = instantiate(trainer_cfg, **alone, logger=False, callbacks=callbacks)
    metrics = module.val_metrics
    with WorkerPool(workers) as pool:
        module.scorer = MapScorer(metrics.protocol, metrics.extra, pool, maps_dir)
        trainer.test(module, datamodule=datamodule, verbose=False)
    write_results(output_dir, module, datamodule, ckpt_path, console(), options)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}
