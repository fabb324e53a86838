"""Train a network, then read the test sets once: ``python -m src.train experiment=quickstart``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import lightning as L
import wandb
from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.callbacks.step_checkpoint import StopWhenAsked
from src.checkpoint_io import AtomicCheckpointIO, remove_leftovers, writable
from src.checkpoints import check_fits, read_checkpoint, rebuild, resolve_checkpoint
from src.compiling import compile_network
from src.eval import run_test
from src.module import COSModule
from src.utils.cli import command, console
from src.utils.errors import Mistakes, UserError
from src.utils.stop import Interrupted, StopRequest


def train(cfg: DictConfig) -> dict[str, float]:
    """Everything that ``conf/train.yaml`` says; returns the last logged and the tested measures.

    Data, configuration and checkpoint are checked before any work starts.

    Raises:
        UserError: wrong input, all problems of a kind at once; a disk that is full; a loss that is no number.
        Interrupted: Ctrl-C or SIGTERM, after the state was saved and the line that resumes it printed.
    """
    output_dir = Path(cfg.paths.output_dir)
    ckpt_path = resolve_checkpoint(cfg.ckpt_path, output_dir)
    if cfg.train and ckpt_path is None and any((output_dir / "checkpoints").glob("*.ckpt")):
        raise UserError(f"{output_dir} already holds a training: ckpt_path=last resumes it, another paths.output_dir starts a new one")
    if not cfg.train and ckpt_path is None:
        raise UserError("train=false needs a ckpt_path to test")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    mistakes = Mistakes()
    with mistakes.collected():
        datamodule = instantiate(cfg.data)
        for stage in ["fit"] * cfg.train + ["test"] * cfg.test:
            datamodule.setup(stage)
    with mistakes.collected():
        module: COSModule = instantiate(cfg.model)
        if cfg.compile:
            compile_network(module.net)
    mistakes.raise_all()
    module.config = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    if ckpt_path is not None:
        check_fits(module, read_checkpoint(ckpt_path), ckpt_path)
    with writable(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output_dir / "checkpoints")
        OmegaConf.save(OmegaConf.create(module.config), output_dir / "config.yaml")
    request = StopRequest()
    callbacks = _callbacks(cfg, validates=cfg.train and datamodule.validates)
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        plugins=[*instantiate(cfg.trainer.get("plugins") or []), AtomicCheckpointIO()],
        callbacks=[*callbacks, StopWhenAsked(output_dir / "checkpoints", request)],
        logger=list(instantiate(cfg.get("logger") or {}).values()),
    )
    if cfg.effective_batch is not None:
        trainer.accumulate_grad_batches = accumulation(cfg.effective_batch, cfg.data.batch_size, trainer.world_size)
    scores: dict[str, float] = {}
    for logger in trainer.loggers:
        logger.log_hyperparams(module.config)
    if trainer.is_global_zero:
        console().print(_summary(module, datamodule.describe(), output_dir), highlight=False)
        if cfg.effective_batch is not None:
            parts = f"{cfg.data.batch_size} (a batch) × {trainer.world_size} (devices) × {trainer.accumulate_grad_batches} (accumulated)"
            console().print(f"images a step of the optimiser: {cfg.effective_batch} = {parts}", highlight=False)
    if cfg.train:
        try:
            with writable(output_dir), request:
                trainer.fit(module, datamodule=datamodule, ckpt_path=str(ckpt_path) if ckpt_path else None)
        except Interrupted as stop:
            if trainer.is_global_zero:
                print(
                    f"stopped by {stop.signal.name} at step {trainer.global_step}; go on with: {_resume_line(output_dir)}", file=sys.stderr
                )
            raise
        finally:
            wandb.finish()  # a sweep goes on, with a run of its own
        scores |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        ckpt_path = Path(best) if best else None
    if not cfg.test:
        return scores
    if trainer.world_size > 1:
        if trainer.is_global_zero:
            console().print(f"One process reads the test sets: python -m src.eval ckpt_path={ckpt_path}", highlight=False)
        return scores
    if ckpt_path is not None:
        module = rebuild(read_checkpoint(ckpt_path), ckpt_path)
    return scores | run_test(module, datamodule, cfg.trainer, output_dir, ckpt_path)


def accumulation(effective: int, batch_size: int, devices: int) -> int:
    """How many batches of `batch_size` on each of `devices` make one optimiser step of `effective` images.

    Raises:
        UserError: they can't; names the next `data.batch_size` (or `effective_batch`) that can.
    """
    if effective > 0 and effective % (batch_size * devices) == 0:
        return effective // (batch_size * devices)
    each = effective // devices
    if effective % devices or each < 1:
        way = f"effective_batch={devices * batch_size * max(1, round(effective / (devices * batch_size)))}"
    else:
        way = f"data.batch_size={max(size for size in range(1, min(batch_size, each) + 1) if each % size == 0)}"
    made = f"data.batch_size={batch_size} on {devices} device{'s'[: devices > 1]}"
    raise UserError(f"effective_batch={effective} can't be made of {made}; take {way}, or effective_batch=null for one batch a step")


def _callbacks(cfg: DictConfig, validates: bool) -> list[L.Callback]:
    """The configured callbacks; without validation none that waits for its measures: the last epoch counts."""
    callbacks = instantiate(cfg.get("callbacks") or {}).values()
    return [callback for callback in callbacks if validates or not str(getattr(callback, "monitor", "")).startswith("val/")]


def _resume_line(output_dir: Path) -> str:
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    words = [word for word in typed if not word.startswith(("ckpt_path=", "paths.output_dir="))]
    return shlex.join(["python", "-m", "src.train", *words, f"paths.output_dir={output_dir}", "ckpt_path=last"])


def _summary(module: COSModule, data: dict[str, Any], output_dir: Path) -> str:
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    tests = ", ".join(f"{name} {count}" for name, count in data["test_images"].items()) or "none"
    images = f"images: {data['train_images']} to train, {data['val_images']} held out; test sets: {tests}"
    return f"{type(module.net).__name__}: {parameters:.1f} M parameters | {images} | {output_dir}"


@command("train")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`train`."""
    train(cfg)


if __name__ == "__main__":
    main()
