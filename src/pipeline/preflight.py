"""Make and check all parts of a training or an evaluation, to report every mistake before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
from hydra.utils import instantiate
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.finding import resolve_checkpoint
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import check_fits, rebuild
from src.cli.command import silence_loggers
from src.cli.job_record import read_record
from src.cli.override_errors import takes
from src.cli.run_folder import REPORT
from src.data.names import set_names
from src.distributed.devices import accumulation, check_devices, world_size
from src.metrics import MEASURES
from src.models.variant import Variant
from src.models.wrappers import network_name, unwrapped
from src.module import COSModule
from src.pipeline.initial import bare_module, initial_module
from src.pipeline.reopen import open_split
from src.pipeline.resume import check_resume
from src.pipeline.start import starting_checkpoint
from src.pipeline.torch_compile import compile_network
from src.prompting import check_kind
from src.report.write import ReportOptions
from src.scoring.pool import WorkerPool
from src.utils.errors import Problems, UserError
from src.utils.launch import launched
from src.utils.revision import revision


@dataclass(frozen=True)
class Prepared:
    """A training that can start.

    Attributes:
        cfg: the configuration that everything was made from.
        output_dir: folder of the run; not made yet.
        ckpt_path: the checkpoint to resume from (with ``train=false``: to test); None for a new training.
        devices: arguments of Lightning's Trainer that the launcher determines; empty without a launcher.
        accumulated: batches per optimiser step; None: as set in ``trainer``.
        datamodule: set up for the stages that will run.
        module: on the CPU; its ``config`` is the resolved configuration with the commit.
        callbacks, loggers: the configured ones.
        notes: lines to print before it starts.
    """

    cfg: DictConfig
    output_dir: Path
    ckpt_path: Path | None
    devices: dict[str, Any]
    accumulated: int | None
    datamodule: Any
    module: COSModule
    callbacks: list[L.Callback]
    loggers: list[Logger]
    notes: list[str]


def prepare(cfg: DictConfig) -> Prepared:
    """Make and check everything that a training needs; seed the random numbers.

    Raises:
        UserError: all mistakes in devices, data, network, callbacks and loggers at once; a checkpoint that does not
            fit.
    """
    silence_loggers()
    ckpt_path = starting_checkpoint(cfg)
    problems = Problems()
    with problems.catch():
        _seed(cfg.seed)
    with problems.catch():
        devices = check_devices(cfg.trainer, launched())
    with problems.catch():
        accumulated = _accumulated(cfg)
    with problems.catch():
        datamodule = _data(cfg)
    with problems.catch():
        module = _module(cfg, ckpt_path)
    with problems.catch():
        callbacks = _made(cfg.get("callbacks"))
    with problems.catch():
        loggers = _made(cfg.get("logger"))
    problems.raise_all()
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    for key in {"train_sets", "test_sets"} & config["data"].keys():
        config["data"][key] = [*set_names(config["data"][key])]
    module.config = config | {"commit": revision()} | module.config
    notes = [] if ckpt_path is None else _check_checkpoint(cfg, module, datamodule, ckpt_path)
    return Prepared(
        cfg, Path(cfg.paths.output_dir), ckpt_path, devices, accumulated, datamodule, module, callbacks, loggers, notes
    )


def _seed(seed: int) -> None:
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}: must lie between 0 and {2**32 - 1}")
    L.seed_everything(seed, workers=True, verbose=False)


def _accumulated(cfg: DictConfig) -> int | None:
    if cfg.effective_batch is None or cfg.data.batch_size <= 0:  # the data module rejects such a batch size
        return None
    return accumulation(cfg.effective_batch, cfg.data.batch_size, world_size(cfg.trainer, launched()))


def _data(cfg: DictConfig) -> Any:
    datamodule = instantiate(cfg.data)
    for stage in ["fit"] * cfg.train + ["test"] * cfg.test:
        datamodule.setup(stage)
    launch = launched()
    datamodule.check_shared_memory(cfg.train, launch.here if launch else world_size(cfg.trainer, launch))
    return datamodule


def _module(cfg: DictConfig, ckpt_path: Path | None) -> COSModule:
    if cfg.init is None:
        module: COSModule = instantiate(cfg.model)
    else:
        module = initial_module(cfg) if ckpt_path is None else bare_module(cfg)
    module.check_optimizer()
    _check_prompting(cfg, module)
    _check_idle_parts(cfg, module)
    if cfg.compile:
        compile_network(module.net)
    return module


def _check_prompting(cfg: DictConfig, module: COSModule) -> None:
    """Reject a training in which the data's prompts and the network's do not belong together."""
    are_made, are_taken = cfg.data.get("prompts") is not None, getattr(module.net, "prompt_term", None) is not None
    if are_made and not are_taken:
        raise UserError(
            f"data.prompts: this {network_name(module.net)} takes none; prompting=on trains a RUN that does, "
            "data.prompts=null trains without"
        )
    if cfg.train and are_taken and not are_made:
        raise UserError(
            "model.net.prompts: nothing trains this part without data.prompts; prompting=on sets both, "
            "model.net.prompts=null trains without"
        )
    if cfg.train and cfg.compile and are_made:
        raise UserError(
            "compile=true: a training with prompts calls the encoder and the unfolding one by one, and neither is "
            "compiled; leave out compile=true, or prompting=on"
        )


def _check_idle_parts(cfg: DictConfig, module: COSModule) -> None:
    """Reject a training on several devices in which a loss of weight 0 leaves a part without any gradient."""
    if not cfg.train or world_size(cfg.trainer, launched()) < 2:
        return
    loss, names, problems = module.loss, [name for name, _ in module.net.named_parameters()], Problems()
    if not loss.edge and any(".edge_head." in name for name in names):
        problems.append(
            "loss.edge=0: nothing trains the edge heads then, which several devices do not accept; "
            "ablation=no_edge_head removes them"
        )
    if not loss.reconstruction and not loss.background and any(name.startswith("robes.1.") for name in names):
        problems.append(
            "loss.reconstruction=0, loss.background=0: nothing trains the last stage's ROBE then, which several "
            "devices do not accept; model.net.share_stages=unfolding lets all stages share one"
        )
    problems.raise_all()


def _made(group: DictConfig | None) -> list[Any]:
    """Return the objects of a group in order; ``GROUP.NAME=null`` excludes one."""
    return [one for one in instantiate(group or {}).values() if one is not None]


def _check_checkpoint(cfg: DictConfig, module: COSModule, datamodule: Any, ckpt_path: Path) -> list[str]:
    """Check that the checkpoint can be resumed, or tested, as asked; return the lines to print about that."""
    checkpoint = read_checkpoint(ckpt_path)
    if cfg.train:
        return check_resume(module, datamodule, checkpoint, ckpt_path)
    check_fits(module, checkpoint, ckpt_path)
    return []


@dataclass(frozen=True)
class PreparedTest:
    """An evaluation that can start.

    Attributes:
        output_dir: folder of the report; not made yet.
        ckpt_path: the checkpoint to evaluate.
        datamodule: set up with the test sets, or with the hold-out as the only test set.
        module: the trained network, as the evaluation variant needs it.
        options: what the report shows.
    """

    output_dir: Path
    ckpt_path: Path
    datamodule: Any
    module: COSModule
    options: ReportOptions


def prepare_test(cfg: DictConfig) -> PreparedTest:
    """Rebuild the network of ``cfg.ckpt_path`` and open its data, with the overrides of ``cfg``; seed random numbers.

    Raises:
        UserError: a checkpoint that cannot be read; else all mistakes in data, network, report and folder at once.
    """
    silence_loggers()
    path = resolve_checkpoint(cfg.ckpt_path, cfg.paths.output_dir)
    if path is None:
        raise UserError("ckpt_path: name the checkpoint to evaluate, e.g. ckpt_path=outputs/…/checkpoints/best.ckpt")
    checkpoint = read_checkpoint(path)
    _seed(cfg.seed)
    overrides = _data_overrides(cfg, checkpoint["config"]["data"])
    output_dir, options = Path(cfg.paths.output_dir), instantiate(cfg.report)
    problems, measures, datasets = Problems(), list(MEASURES), list[str]()
    with problems.catch():
        datamodule = open_split(checkpoint["config"]["data"], overrides, cfg.split)
        datasets = datamodule.test_names
        datamodule.check_shared_memory(train=False)
    with problems.catch():
        module = _trained_module(cfg, checkpoint, path)
        module.prompts = cfg.prompts
        _check_prompts(cfg, module)
        measures = list(module.val_metrics.names)
        _check_blind(measures)
    with problems.catch():
        options.check(measures, datasets)
    with problems.catch():
        WorkerPool(cfg.workers)
    again = read_record(output_dir).get("again")  # a job of a multirun that was stopped before may find its own files
    if not again and (there := [name for name in (*REPORT, "maps", "checkpoints") if (output_dir / name).exists()]):
        problems.append(f"paths.output_dir={output_dir} holds {', '.join(there)} already; choose another folder")
    problems.raise_all()
    return PreparedTest(output_dir, path, datamodule, module, options)


def _given(overrides: DictConfig) -> dict[str, Any]:
    return {str(name): value for name, value in overrides.items() if value is not None}


def _data_overrides(cfg: DictConfig, data: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the checkpoint's ``data`` that ``cfg`` overrides.

    Raises:
        UserError: the checkpoint's data have no such setting.
    """
    overrides = _given(cfg.data)
    if unknown := [f"data.{key}" for key in overrides if key not in data and not takes(data["_target_"], key)]:
        raise UserError(
            f"{', '.join(unknown)}: the data of this checkpoint ({data['_target_'].split('.')[-1]}) has no such setting"
        )
    if "test_fraction" in data and {"root", "test_sets"} <= overrides.keys() and overrides["test_sets"]:
        overrides = {"test_fraction": 0.0} | overrides  # sets of another root: none of their images was held out
    if cfg.metrics.protocol == "released" and "train_sets" in data:  # data in folders; synthetic scenes have no EXIF
        return {"exif": False} | overrides
    return overrides


def _trained_module(cfg: DictConfig, checkpoint: dict[str, Any], path: Path) -> COSModule:
    variant = Variant(cfg.closing_step, cfg.rounds, cfg.sharpness, cfg.flip)
    return rebuild(checkpoint, path, _given(cfg.metrics), variant)


def _check_prompts(cfg: DictConfig, module: COSModule) -> None:
    """Reject prompts that are not known, or that the network as it is evaluated does not take."""
    if cfg.prompts is None:
        return
    problems = Problems()
    with problems.catch():
        check_kind(cfg.prompts)
    if not getattr(unwrapped(module.net), "takes_prompts", False):
        problems.append(f"prompts={cfg.prompts}: this {network_name(module.net)} takes none; leave them out")
    problems.raise_all()


def _check_blind(measures: list[str]) -> None:
    """Reject measures that need the images at full size: an evaluation only has the masks at full size."""
    if looking := [name for name in measures if MEASURES[name].needs_image]:
        how = "python -m src.score preds=MAPS gts=MASKS images=IMAGES"
        raise UserError(
            f"metrics.extra: {', '.join(looking)} looks at the images at full size: leave it out, then {how}"
        )
