"""Build the trainer of a prepared training, announce it, and fit."""

from __future__ import annotations

import sys

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.callbacks import ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn
from omegaconf import OmegaConf

from src.callbacks.step_checkpoint import StopWhenAsked
from src.checkpoints.atomic_io import AtomicCheckpointIO, remove_leftovers, writable
from src.cli.command import console
from src.cli.command_line import command_line
from src.distributed.devices import cluster
from src.distributed.ranks import other_ranks
from src.distributed.signals import Interrupted, StopRequest, cause
from src.distributed.sync_norm import SyncNorm
from src.models.wrappers import network_name
from src.pipeline.clock import Clock, clock_for, report
from src.pipeline.preflight import Prepared
from src.utils.failures import explained
from src.utils.launch import launched


def build(prepared: Prepared, request: StopRequest) -> L.Trainer:
    """Make the run's folder with its ``config.yaml``, and the trainer.

    Args:
        prepared: the checked training.
        request: a request to stop, which the trainer answers after the current step.

    Raises:
        UserError: the folder cannot be written.
    """
    cfg, folder = prepared.cfg, prepared.output_dir
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
    trainer: L.Trainer = instantiate(
        cfg.trainer,
        plugins=[AtomicCheckpointIO(), cluster(launched()), *[SyncNorm()] * bool(cfg.trainer.get("sync_batchnorm"))],
        callbacks=[*_callbacks(prepared), StopWhenAsked(folder / "checkpoints", request)],
        logger=prepared.loggers,
        **clock_for(cfg.trainer),
        **prepared.devices,
    )
    if prepared.accumulated is not None:
        trainer.accumulate_grad_batches = prepared.accumulated
    if trainer.is_global_zero:
        with writable(folder):
            remove_leftovers(folder / "checkpoints")
            if cfg.train or not (folder / "config.yaml").exists():  # a test does not change a training's files
                OmegaConf.save(OmegaConf.create(prepared.module.config), folder / "config.yaml")
    return trainer


def announce(prepared: Prepared, trainer: L.Trainer) -> None:
    """Hand the configuration to the loggers, and print what will be trained and tested."""
    for logger in trainer.loggers:
        logger.log_hyperparams(prepared.module.config)
    if not trainer.is_global_zero:
        return
    cfg, out = prepared.cfg, console()
    if cfg.compile:
        out.print("compile=true: the first training and the first validation step take minutes", highlight=False)
    out.print(_summary(prepared), *prepared.notes, sep="\n", highlight=False, markup=False)
    if prepared.accumulated is not None:
        parts = (
            f"{cfg.data.batch_size} (per batch) × {trainer.world_size} (devices) × {prepared.accumulated} (accumulated)"
        )
        out.print(f"images per optimiser step: {cfg.effective_batch} = {parts}", highlight=False)


def fit(prepared: Prepared, trainer: L.Trainer, request: StopRequest) -> dict[str, float]:
    """Train (one process per device), print the time spent waiting for data, and return the last logged measures.

    Raises:
        UserError: the disk is full; the loss is not a number.
        Interrupted: Ctrl-C or SIGTERM, after the state was saved and the command that resumes was printed.
    """
    start = str(prepared.ckpt_path) if prepared.ckpt_path else None
    try:
        with (
            writable(prepared.output_dir),
            request,
            other_ranks(trainer, prepared.cfg, start),
            explained(prepared.datamodule.sizes()),
        ):
            trainer.fit(prepared.module, datamodule=prepared.datamodule, ckpt_path=start)
    except Interrupted as stop:
        if trainer.is_global_zero:
            command = command_line(prepared.output_dir, "ckpt_path=last")
            print(
                f"stopped by {cause(stop.signal)} at step {trainer.global_step}; resume with: {command}",
                file=sys.stderr,
            )
        raise
    report(trainer, Clock.of_training)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def _callbacks(prepared: Prepared) -> list[L.Callback]:
    """Return the configured callbacks; without validation, none that monitors its measures.

    The one that averages weights comes last: it swaps them out in a hook in which the panel still wants them.
    """
    validates = prepared.cfg.train and prepared.datamodule.validates
    callbacks = [
        one for one in prepared.callbacks if validates or not str(getattr(one, "monitor", "")).startswith("val/")
    ]
    if prepared.cfg.train and not any(isinstance(callback, ModelCheckpoint) for callback in callbacks):
        rank_zero_warn("no checkpoint will be written: best.ckpt and last.ckpt are callbacks=[default,…]")
    return sorted(callbacks, key=lambda one: isinstance(one, WeightAveraging))


def _summary(prepared: Prepared) -> str:
    module, data = prepared.module, prepared.datamodule.describe()
    parameters = sum(parameter.numel() for parameter in module.parameters()) / 1e6
    tests = ", ".join(f"{name} {count}" for name, count in data["test_images"].items()) or "none"
    images = f"images: {data['train_images']} to train, {data['val_images']} held out; test sets: {tests}"
    start = f" | weights of {prepared.cfg.init}" if prepared.cfg.init and prepared.ckpt_path is None else ""
    return f"{network_name(module.net)}: {parameters:.1f} M parameters{start} | {images} | {prepared.output_dir}"
