"""Decide what a resumed training takes from its checkpoint, and what from the command line.

`FROM_CHECKPOINT` lists the former; it is checked before any work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from src.checkpoints.rebuild import check_epochs, check_fits
from src.data.split_record import changed_images
from src.module import COSModule
from src.utils.errors import Problems

FROM_CHECKPOINT = {
    "seed": "",
    "model.net": "",
    "model.optimizer": "",
    "model.unfolding_lr_scale": "",
    "model.encoder_lr_scale": "",
    "model.scheduler": "",
    "callbacks.ema": "the weights are an average, or are none",
    "data._target_": "",
    "data.train_sets": "",
    "data.val_fraction": "the hold-out would be another one",
    "data.test_fraction": "the hold-out would be another one",
    "data.folds": "the hold-out would be another one",
    "data.fold": "the hold-out would be another one",
    "data.groups": "the hold-out would be another one",
    "data.selection": "the best epoch would be chosen otherwise",
    "data.num_train": "",
    "data.num_val": "",
    "data.seed": "",
    "data.concealment": "",
}
"""Settings that a resumed training takes from its checkpoint, or on which its first part depended.

Another value is refused. Setting → why, if that is not obvious.
"""
NO_NUMBER = (
    "ckpt_path", "init", "init_strict", "train", "test", "task_name", "paths", "logger", "format", "started_from",
    "compile", "encoder", "loss", "scheduler", "metrics", "freeze", "experiment", "model.net.encoder.weights",
    "data.root", "data.test_sets", "data.num_workers", "data.eval_batch_size", "data.pin_memory",
    "data.persistent_workers", "data.cache", "data.cache_gb", "trainer.default_root_dir", "callbacks.progress",
    "callbacks.resources",
)  # fmt: skip
"""Settings on which no number depends: places, the machine, or copies of what is in ``model``.

They are taken from the command line silently. All others that are not in `FROM_CHECKPOINT` are, too, but their changes
are reported.
"""
UNTOLD = ("dirpath", "_partial_")
"""Last parts of keys whose values are not compared either."""


def check_resume(module: COSModule, datamodule: Any, checkpoint: Mapping[str, Any], path: Path) -> list[str]:
    """Compare a training with the checkpoint from which it is to resume.

    Args:
        module: its ``config`` is the configuration of this command; ``init`` and ``started_from`` become those of the
            checkpoint.
        datamodule: set up.
        checkpoint: as `read_checkpoint` returns it.
        path: its file.

    Returns:
        Lines to print before the work: settings taken from the command line, images that have changed, and whether
        nothing is left to train.

    Raises:
        UserError: another architecture, settings that contradict the checkpoint, other training images or another
            hold-out; all at once.
    """
    problems, notes = Problems(), list[str]()
    began = checkpoint["config"].get("init")
    if module.config["init"] not in (None, began):
        how = f"with init={began}" if began else "without init"
        problems.append(
            f"init={module.config['init']} with ckpt_path={path}: that training began {how}; "
            "leave out init to resume it, or ckpt_path"
        )
    with problems.catch():
        check_fits(module, dict(checkpoint), path)
    with problems.catch():
        check_epochs(module.config["trainer"].get("max_epochs"), dict(checkpoint), path)
    problems.raise_all()
    problems += refused_settings(checkpoint["config"], module.config)
    problems += changed_images(
        checkpoint.get(type(datamodule).__qualname__, {}).get("split"), datamodule.split_record(), notes
    )
    way_out = "resume with the command that began it, or begin a new training with its weights"
    problems.raise_all(f"{path} cannot be resumed like this; {way_out}, init={path}:")
    module.config |= {key: checkpoint["config"][key] for key in ("init", "started_from") if key in checkpoint["config"]}
    return [
        *_used_settings(checkpoint["config"], module.config),
        *notes,
        *_nothing_left(module.config["trainer"], checkpoint, path),
    ]


def refused_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Return one line per setting that the checkpoint decides and the command contradicts."""
    lines = []
    for key, (before, now) in differing(there, here).items():
        owner = next((prefix for prefix in FROM_CHECKPOINT if _is_below(key, prefix)), None)
        if owner is not None:
            why = FROM_CHECKPOINT[owner]
            lines.append(f"{key}={_word(now)}, and {_word(before)} in the checkpoint{f': {why}' if why else ''}")
    return lines


def differing(there: Mapping[str, Any], here: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted key → both values, for all settings that differ and on which a number depends; null is not set."""
    before, now = _flat(there), _flat(here)
    keys = [key for key in dict.fromkeys([*before, *now]) if before.get(key) != now.get(key)]
    told = [
        key
        for key in keys
        if not any(_is_below(key, prefix) for prefix in NO_NUMBER) and key.rpartition(".")[2] not in UNTOLD
    ]
    return {key: (before.get(key), now.get(key)) for key in told}


def _used_settings(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    used = [f"{key}={_word(now)} (was {_word(before)})" for key, (before, now) in differing(there, here).items()]
    return [f"from here on, by this command: {', '.join(used)}"] if used else []


def _nothing_left(trainer: Mapping[str, Any], checkpoint: Mapping[str, Any], path: Path) -> list[str]:
    done, steps = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"], checkpoint["global_step"]
    asked, most = trainer.get("max_epochs"), trainer.get("max_steps")
    if asked is not None and 0 <= asked <= done:
        return [f"nothing is left to train: {path} has seen all {done} epochs; a larger trainer.max_epochs trains on"]
    if most is not None and 0 <= most <= steps:
        return [f"nothing is left to train: {path} has seen all {steps} steps; a larger trainer.max_steps trains on"]
    return []


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        flat |= _flat(value, f"{key}.") if isinstance(value, Mapping) else {} if value is None else {key: value}
    return flat


def _is_below(key: str, prefix: str) -> bool:
    return key == prefix or key.startswith(f"{prefix}.")


def _word(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return (
        f"[{','.join(map(_word, value))}]" if isinstance(value, Sequence) and not isinstance(value, str) else str(value)
    )
