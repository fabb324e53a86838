"""Read the test sets with a trained network: ``python -m src.eval ckpt_path=FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.callbacks.progress import ProgressBar
from src.checkpoints import read_checkpoint, rebuild, resolve_checkpoint
from src.module import COSModule
from src.report.results import write_results
from src.utils.cli import command, console
from src.utils.errors import UserError


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
    datamodule = instantiate(OmegaConf.merge(data, overrides))
    datamodule.setup("test")
    module = rebuild(checkpoint, path, metrics=_given(cfg.metrics))
    return test(module, datamodule, cfg.trainer, Path(cfg.paths.output_dir), path)


def test(
    module: COSModule, datamodule: L.LightningDataModule, trainer_cfg: DictConfig, output_dir: Path, ckpt_path: Path | None
) -> dict[str, float]:
    """Test on one device, write the tables, the per-image scores and the gallery, print the table."""
    trainer: L.Trainer = instantiate(trainer_cfg, devices=1, strategy="auto", logger=False, callbacks=[ProgressBar()])
    trainer.test(module, datamodule=datamodule, verbose=False)
    write_results(output_dir, module, datamodule, ckpt_path, console())
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _given(overrides: DictConfig) -> dict[str, Any]:
    return {str(name): value for name, value in overrides.items() if value is not None}


@command("eval")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`evaluate`."""
    evaluate(cfg)


if __name__ == "__main__":
    main()
