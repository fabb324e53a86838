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
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import DictConfig, OmegaConf

from src.callbacks.step_checkpoint import StopWhenAsked
from src.checkpoints.atomic_io import AtomicCheckpointIO, remove_leftovers, writable
from src.checkpoints.reading import read_checkpoint, resolve_checkpoint
from src.checkpoints.rebuild import check_epochs, check_fits, rebuild
from src.checkpoints.weights_file import SUFFIX
from src.cli.command import command, console
from src.distributed.devices import check_devices, cluster, world_size
from src.distributed.ranks import other_ranks
from src.distributed.signals import Interrupted, StopRequest
from src.distributed.sync_norm import SyncNorm
from src.loggers.tracker import Tracker
from src.models.rounds import network_name
from src.module import COSModule
from src.pipeline.test import run_test
from src.pipeline.torch_compile import compile_network
from src.utils.errors import Problems, UserError
from src.utils.launch import launched, restarted
from src.utils.revision import revision


def train(cfg: DictConfig) -> dict[str, float]:
    """Everything that ``conf/train.yaml`` says; returns the last logged and the tested measures.

    Data, configuration and checkpoint are checked before any work starts.

    Raises:
        UserError: wrong input, all problems of a kind at once; a disk that is full; a loss that is no number.
        Interrupted: Ctrl-C or SIGTERM, after the state was saved and the line that resumes it printed.
    """
    try:
        scores = _train(cfg)
    except BaseException:
        wandb.finish(exit_code=1)  # "failed" there, until it is resumed
        raise
    wandb.finish()  # a sweep goes on, with a run of its own
    return scores


def _train(cfg: DictConfig) -> dict[str, float]:
    if removed := [name for name in ("data", "model", "trainer") if "_target_" not in (cfg.get(name) or {})]:
        raise UserError(
            f"{', '.join(removed)}: nothing is left of it; a training needs one (~GROUP takes it away, GROUP=CHOICE puts one in)"
        )
    output_dir = Path(cfg.paths.output_dir)
    begun = cfg.train and any((output_dir / "checkpoints").glob("*.ckpt"))
    ckpt_path = resolve_checkpoint("last" if begun and restarted() else cfg.ckpt_path, output_dir)
    if begun and ckpt_path is None:
        raise UserError(f"{output_dir} already holds a training: ckpt_path=last resumes it, another paths.output_dir starts a new one")
    if not cfg.train and ckpt_path is None:
        raise UserError("train=false needs a ckpt_path to test")
    if cfg.train and ckpt_path is not None and ckpt_path.suffix == SUFFIX:
        raise UserError(f"ckpt_path: {ckpt_path} holds weights alone; a training goes on from a .ckpt, src.eval and src.predict read this")
    problems, launch, devices = Problems(), launched(), dict[str, Any]()
    with problems.catch():
        if not 0 <= cfg.seed < 2**32:
            raise UserError(f"seed={cfg.seed}: must lie between 0 and {2**32 - 1}")
        L.seed_everything(cfg.seed, workers=True, verbose=False)
    with problems.catch():
        devices = check_devices(cfg.trainer, launch)
    accumulated: int | None = None
    with problems.catch():
        if cfg.effective_batch is not None and cfg.data.batch_size > 0:
            accumulated = accumulation(cfg.effective_batch, cfg.data.batch_size, world_size(cfg.trainer, launch))
    with problems.catch():
        datamodule = instantiate(cfg.data)
        for stage in ["fit"] * cfg.train + ["test"] * cfg.test:
            datamodule.setup(stage)
    with problems.catch():
        module: COSModule = instantiate(cfg.model)
        module.check_optimizer()
        if cfg.compile:
            compile_network(module.net)
    problems.raise_all()
    module.config = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    module.config["commit"] = revision()
    if ckpt_path is not None:
        checkpoint = read_checkpoint(ckpt_path)
        check_fits(module, checkpoint, ckpt_path)
        if cfg.train:
            check_epochs(cfg.trainer.get("max_epochs"), checkpoint, ckpt_path)
    with writable(output_dir):
        output_dir.mkdir(parents=True, exist_ok=True)
    request = StopRequest()
    callbacks = _callbacks(cfg, validates=cfg.train and datamodule.validates)
    if cfg.train and not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        rank_zero_warn("no checkpoint will be written: best.ckpt and last.ckpt are callbacks=[default,…]")
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        plugins=[AtomicCheckpointIO(), cluster(launch), *[SyncNorm()] * bool(cfg.trainer.get("sync_batchnorm"))],
        callbacks=[*callbacks, StopWhenAsked(output_dir / "checkpoints", request)],
        logger=list(instantiate(cfg.get("logger") or {}).values()),
        **devices,
    )
    if accumulated is not None:
        trainer.accumulate_grad_batches = accumulated
    if trainer.is_global_zero:
        with writable(output_dir):
            remove_leftovers(output_dir / "checkpoints")
            OmegaConf.save(OmegaConf.create(module.config), output_dir / "config.yaml")
    scores: dict[str, float] = {}
    for logger in trainer.loggers:
        logger.log_hyperparams(module.config)
    if trainer.is_global_zero:
        if cfg.compile:
            console().print("compile=true: the first training and the first validation step take minutes", highlight=False)
        console().print(_summary(module, datamodule.describe(), output_dir), highlight=False)
        if accumulated is not None:
            parts = f"{cfg.data.batch_size} (a batch) × {trainer.world_size} (devices) × {accumulated} (accumulated)"
            console().print(f"images a step of the optimiser: {cfg.effective_batch} = {parts}", highlight=False)
    if cfg.train:
        try:
            start = str(ckpt_path) if ckpt_path else None
            with writable(output_dir), request, other_ranks(trainer, cfg, start):
                trainer.fit(module, datamodule=datamodule, ckpt_path=start)
        except Interrupted as stop:
            if trainer.is_global_zero:
                again = _command_line(output_dir, "ckpt_path=last")
                print(f"stopped by {stop.signal.name} at step {trainer.global_step}; go on with: {again}", file=sys.stderr)
            raise
        scores |= {name: float(value) for name, value in trainer.callback_metrics.items()}
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        ckpt_path = Path(best) if best else None
    if not cfg.test or not trainer.is_global_zero:
        return scores  # one process reads the test sets: the report is about single images in their order
    if ckpt_path is not None:
        module = rebuild(read_checkpoint(ckpt_path), ckpt_path)
    try:
        with StopRequest(at_once=True):
            scores |= run_test(module, datamodule, cfg.trainer, output_dir, ckpt_path)
    except Interrupted as stop:
        again = _command_line(output_dir, f"ckpt_path={ckpt_path}", "train=false")
        print(f"stopped by {stop.signal.name} in the test; test again with: {again}", file=sys.stderr)
        raise
    for logger in trainer.loggers:
        if isinstance(logger, Tracker):
            logger.log_report(output_dir, scores)
    return scores


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
    """The configured callbacks (``callbacks.NAME=null`` leaves one out); without validation none that waits for its measures."""
    callbacks = [callback for callback in instantiate(cfg.get("callbacks") or {}).values() if callback is not None]
    return [callback for callback in callbacks if validates or not str(getattr(callback, "monitor", "")).startswith("val/")]


def _command_line(output_dir: Path, *overrides: str) -> str:
    """What was typed, for this job alone, in the run's own folder and with other overrides."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    replaced = ("paths.output_dir=", "sweep=", *(f"{override.partition('=')[0]}=" for override in overrides))
    words = [word for word in typed if not word.startswith(replaced)]
    launch = launched()
    start = {"torchrun": "torchrun …", "srun": "srun python"}.get(launch.by if launch else "", "python")
    return f"{start} {shlex.join(['-m', 'src.train', *words, f'paths.output_dir={output_dir}', *overrides])}"


def _summary(module: COSModule, data: dict[str, Any], output_dir: Path) -> str:
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    tests = ", ".join(f"{name} {count}" for name, count in data["test_images"].items()) or "none"
    images = f"images: {data['train_images']} to train, {data['val_images']} held out; test sets: {tests}"
    return f"{network_name(module.net)}: {parameters:.1f} M parameters | {images} | {output_dir}"


@command("train")
def main(cfg: DictConfig) -> Any:
    """The command line of :func:`train`."""
    train(cfg)


if __name__ == "__main__":
    main()
