"""Where a training starts: from scratch, or from which file.

Only checkpoints are read, and torch is only imported to read them.
"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from src.checkpoints.finding import check_ckpt_path, resolve_checkpoint
from src.checkpoints.shipped import no_network, path_of
from src.checkpoints.weights_file import SUFFIX
from src.cli.run_folder import REPORT, holds_training
from src.utils.errors import Problems, UserError
from src.utils.launch import restarted

NEEDED = ("data", "model", "trainer")


def check_start(cfg: DictConfig) -> None:
    """Check everything that only needs names and paths.

    Raises:
        UserError: a group that was removed, a checkpoint or weights that do not exist, a checkpoint that cannot be
            resumed from, a folder that already holds a run.
    """
    if removed := [name for name in NEEDED if "_target_" not in (cfg.get(name) or {})]:
        way_out = "training needs it. It was removed with ~GROUP; choose one with GROUP=CHOICE"
        raise UserError(f"{', '.join(removed)}: missing; {way_out}")
    if _requeued(cfg):
        return
    problems = Problems()
    with problems.catch():
        check_ckpt_path(cfg)
    if cfg.init is not None and cfg.ckpt_path is None and not path_of(cfg.init).is_file():
        problems.append(f"init: {no_network(path_of(cfg.init))}")
    if _begun(cfg) and cfg.ckpt_path is None:
        folder = cfg.paths.output_dir
        problems.append(
            f"{folder} already holds a training: ckpt_path=last resumes it, another paths.output_dir starts a new one"
        )
    problems += _of_another_run(cfg)
    if not cfg.train and cfg.ckpt_path is None:
        problems.append("train=false needs a ckpt_path to test")
    if cfg.train and cfg.ckpt_path is not None and path_of(cfg.ckpt_path).suffix == SUFFIX:
        only_weights = f"ckpt_path: {cfg.ckpt_path} holds weights alone"
        problems.append(
            f"{only_weights}; a training resumes from a .ckpt, init={cfg.ckpt_path} begins a new one with them"
        )
    problems.raise_all()


def starting_checkpoint(cfg: DictConfig) -> Path | None:
    """Call `check_start`; return the file to resume from (with ``train=false``: to test), None for a new training."""
    check_start(cfg)
    return resolve_checkpoint("last" if _requeued(cfg) else cfg.ckpt_path, cfg.paths.output_dir)


def _begun(cfg: DictConfig) -> bool:
    """Return whether a training has left checkpoints in this run's folder."""
    return bool(cfg.train) and holds_training(cfg.paths.output_dir)


def _of_another_run(cfg: DictConfig) -> list[str]:
    """Return the problem if a checkpoint from elsewhere would overwrite the training or the report in this folder."""
    folder = Path(cfg.paths.output_dir)
    if cfg.ckpt_path in (None, "last") or Path(cfg.ckpt_path).resolve().parent == (folder / "checkpoints").resolve():
        return []
    if _begun(cfg):
        return [
            f"{folder} already holds another training than that of ckpt_path={cfg.ckpt_path}; "
            "name another paths.output_dir"
        ]
    if not cfg.train and any((folder / name).exists() for name in REPORT):
        return [f"{folder} already holds a report; name another paths.output_dir for that of ckpt_path={cfg.ckpt_path}"]
    return []


def _requeued(cfg: DictConfig) -> bool:
    """Return whether SLURM requeued this training: it then resumes, whatever the command line says."""
    return restarted() and _begun(cfg)
