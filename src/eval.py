"""Read the test sets with a trained network: ``python -m src.eval ckpt_path=FILE``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import DictConfig, OmegaConf

from src.callbacks.progress import ProgressBar
from src.checkpoints import read_checkpoint, rebuild, resolve_checkpoint
from src.data.datamodule import COSDataModule
from src.metrics import MEASURES
from src.models.run import RUN
from src.module import COSModule, network_name
from src.report.report import ReportOptions
from src.report.results import write_results
from src.scoring import MapScorer, WorkerPool
from src.utils.cli import command, console
from src.utils.errors import Mistakes, UserError

SPLITS = ("test", "holdout")


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Rebuild the network out of ``cfg.ckpt_path`` and test it; what ``cfg`` sets overrides the checkpoint's own data."""
    path = resolve_checkpoint(cfg.ckpt_path, cfg.paths.output_dir)
    if path is None:
        raise UserError("ckpt_path: name the checkpoint to evaluate, e.g. ckpt_path=outputs/…/checkpoints/best.ckpt")
    checkpoint = read_checkpoint(path)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, overrides = checkpoint["config"]["data"], _given(cfg.data)
    unknown = [f"data.{key}" for key in overrides if key not in data]
    if unknown:
        raise UserError(f"{', '.join(unknown)}: the data of this checkpoint ({data['_target_'].split('.')[-1]}) has no such setting")
    output_dir, options = Path(cfg.paths.output_dir), instantiate(cfg.report)
    mistakes, measures, datasets = Mistakes(), list(MEASURES), list[str]()
    with mistakes.collected():
        datamodule = open_split(data, overrides, cfg.split)
        datasets = datamodule.test_names
    with mistakes.collected():
        module = rebuild(checkpoint, path, metrics=_given(cfg.metrics))
        module.rounds = checked_rounds(cfg.rounds)
        _read_otherwise(module, cfg.closing_step, cfg.sharpness)
        measures = list(module.val_metrics.names)
        if looking := [name for name in measures if MEASURES[name].needs_image]:
            how = "python -m src.score preds=MAPS gts=MASKS images=IMAGES"
            raise UserError(f"metrics.extra: {', '.join(looking)} looks at the images at full size: leave it out, then {how}")
    with mistakes.collected():
        options.check(measures, datasets)
    with mistakes.collected():
        WorkerPool(cfg.workers)
    with mistakes.collected():
        if (output_dir / "report.html").exists() or (output_dir / "maps").exists():
            raise UserError(f"paths.output_dir={output_dir} holds a report or maps already; choose another folder")
    mistakes.raise_all()
    return run_test(module, datamodule, cfg.trainer, output_dir, path, options, cfg.workers, output_dir / "maps")


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


def open_split(data: dict[str, Any], overrides: dict[str, Any], split: str) -> COSDataModule:
    """The checkpoint's data with the test sets, or the hold-out in their place, set up and checked."""
    if split not in SPLITS:
        raise UserError(f"split={split}: expected {' or '.join(SPLITS)}")
    if split == "test":
        datamodule: COSDataModule = instantiate(OmegaConf.merge(data, overrides))
        datamodule.setup("test")
        return datamodule
    if "test_sets" in overrides:
        raise UserError("data.test_sets: split=holdout reads no test set; leave one of the two out")
    unread = {"test_sets": [], "cache": False}  # neither has to be there
    datamodule = instantiate(OmegaConf.merge(data, {key: value for key, value in unread.items() if key in data}, overrides))
    datamodule.test_on_holdout()
    return datamodule


def open_run(checkpoint_path: Path, data: Path | None) -> tuple[RUN, dict[str, Any], COSDataModule]:
    """A trained RUN (or its twin) to be looked into, its configuration, and its hold-out as the only test set.

    Args:
        data: data.root, where it is not the one of the training.

    Raises:
        UserError: no checkpoint of RUN, or data that cannot be used.
    """
    checkpoint = read_checkpoint(checkpoint_path)
    net = rebuild(checkpoint, checkpoint_path).eval().net
    if not isinstance(net, RUN):
        raise UserError(f"{checkpoint_path}: {network_name(net)} has no stages to look into")
    config = checkpoint["config"]
    return net, config, open_split(config["data"], {"root": str(data)} if data else {}, "holdout")


def _read_otherwise(module: COSModule, closing_step: bool | None, sharpness: float) -> None:
    """Another final mask out of the same trained network."""
    if closing_step is not None:
        if not isinstance(module.net, RUN) or not module.net.mask_steps:
            raise UserError(f"closing_step={str(closing_step).lower()}: {network_name(module.net)} has no mask step; leave it out")
        module.net.closing_step = closing_step
    if not 0 < sharpness < math.inf:
        raise UserError(f"sharpness={sharpness}: expected a number above 0 (1: the logits as they are)")
    module.sharpness = sharpness


def checked_rounds(rounds: int) -> int:
    """How often each image is looked at; a UserError for less than once."""
    if rounds < 1:
        raise UserError(f"rounds={rounds}: expected 1 (one look), 2 (a second one, magnified) or more")
    return rounds


def _given(overrides: DictConfig) -> dict[str, Any]:
    return {str(name): value for name, value in overrides.items() if value is not None}


@command("eval")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`evaluate`."""
    evaluate(cfg)


if __name__ == "__main__":
    main()
