"""Read the test sets with a trained network: ``python -m src.eval ckpt_path=FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig

from src.checkpoints.finding import resolve_checkpoint
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import rebuild
from src.cli.command import command
from src.metrics import MEASURES
from src.models.variant import Variant
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
        module = rebuild(checkpoint, path, _given(cfg.metrics), Variant(cfg.closing_step, cfg.rounds, cfg.sharpness))
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


def _given(overrides: DictConfig) -> dict[str, Any]:
    return {str(name): value for name, value in overrides.items() if value is not None}


@command("eval")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`evaluate`."""
    evaluate(cfg)


if __name__ == "__main__":
    main()
