"""Read the test sets with a trained network: ``python -m src.eval ckpt_path=FILE``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.checkpoints.reading import read_checkpoint, resolve_checkpoint
from src.checkpoints.rebuild import rebuild
from src.cli.command import command
from src.metrics import MEASURES
from src.models.outputs import network_name
from src.models.rounds import checked_rounds
from src.models.run import RUN
from src.module import COSModule
from src.pipeline.reopen import open_split
from src.pipeline.test import run_test
from src.scoring.pool import WorkerPool
from src.utils.errors import Problems, UserError


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
    if cfg.metrics.protocol == "released" and "train_sets" in data:  # of folders; made-up scenes have no EXIF
        overrides = {"exif": False} | overrides
    output_dir, options = Path(cfg.paths.output_dir), instantiate(cfg.report)
    problems, measures, datasets = Problems(), list(MEASURES), list[str]()
    with problems.catch():
        datamodule = open_split(data, overrides, cfg.split)
        datasets = datamodule.test_names
    with problems.catch():
        module = rebuild(checkpoint, path, metrics=_given(cfg.metrics))
        module.rounds = checked_rounds(cfg.rounds)
        _read_otherwise(module, cfg.closing_step, cfg.sharpness)
        measures = list(module.val_metrics.names)
        if looking := [name for name in measures if MEASURES[name].needs_image]:
            how = "python -m src.score preds=MAPS gts=MASKS images=IMAGES"
            raise UserError(f"metrics.extra: {', '.join(looking)} looks at the images at full size: leave it out, then {how}")
    with problems.catch():
        options.check(measures, datasets)
    with problems.catch():
        WorkerPool(cfg.workers)
    with problems.catch():
        if (output_dir / "report.html").exists() or (output_dir / "maps").exists():
            raise UserError(f"paths.output_dir={output_dir} holds a report or maps already; choose another folder")
    problems.raise_all()
    return run_test(module, datamodule, cfg.trainer, output_dir, path, options, cfg.workers, output_dir / "maps")


def _read_otherwise(module: COSModule, closing_step: bool | None, sharpness: float) -> None:
    """Another final mask out of the same trained network."""
    if closing_step is not None:
        if not isinstance(module.net, RUN) or not module.net.mask_steps:
            raise UserError(f"closing_step={str(closing_step).lower()}: {network_name(module.net)} has no mask step; leave it out")
        module.net.closing_step = closing_step
    if not 0 < sharpness < math.inf:
        raise UserError(f"sharpness={sharpness}: expected a number above 0 (1: the logits as they are)")
    module.sharpness = sharpness


def _given(overrides: DictConfig) -> dict[str, Any]:
    return {str(name): value for name, value in overrides.items() if value is not None}


@command("eval")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`evaluate`."""
    evaluate(cfg)


if __name__ == "__main__":
    main()
