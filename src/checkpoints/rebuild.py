"""Rebuild the LightningModule of a checkpoint from its file alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.checkpoints.atomic_io import SELECTION
from src.checkpoints.network import check_weights, make_network
from src.models.variant import AS_TRAINED, Variant
from src.module import COSModule
from src.utils.errors import UserError
from src.utils.revision import FORMAT


def rebuild(
    checkpoint: dict[str, Any], path: Path, metrics: dict[str, Any] | None = None, variant: Variant = AS_TRAINED
) -> COSModule:
    """Make the module of a checkpoint: its network, its loss and its measures.

    The network is made by :func:`src.checkpoints.network.make_network`.

    Args:
        checkpoint: what `read_checkpoint` has read.
        path: where it came from, for messages.
        metrics: overrides of the configuration's ``metrics``.
        variant: how the network is evaluated.

    Raises:
        UserError: the weights do not fit the network that the configuration describes, or the network does not support
            the variant.
    """
    config = checkpoint["config"]
    net = make_network(checkpoint, path, variant)
    others = OmegaConf.create({key: value for key, value in config["model"].items() if key != "net"})
    others.metrics = OmegaConf.merge(others.metrics, metrics or {})
    module: COSModule = instantiate(others, _partial_=True)(net)
    module.config, module.selection = config, checkpoint.get(SELECTION)
    return module


def check_fits(module: COSModule, checkpoint: dict[str, Any], path: Path) -> None:
    """Check that a checkpoint's weights fit a module.

    Raises:
        UserError: they belong to another architecture; the message names the settings and the parts that differ.
    """
    check_weights(module.state_dict(), module.config, checkpoint, path)


def check_epochs(max_epochs: int | None, checkpoint: dict[str, Any], path: Path) -> None:
    """Check that a training can resume from a checkpoint.

    Args:
        max_epochs: total number of epochs of the training; None or a negative number: no limit.
        checkpoint: what `read_checkpoint` has read.
        path: where it came from, for messages.

    Raises:
        UserError: the file holds weights alone, was written by an older version, or has seen more epochs than
            ``max_epochs``.
    """
    if "loops" not in checkpoint:
        raise UserError(
            f"ckpt_path: {path} holds weights alone; "
            f"a training resumes from a .ckpt, init={path} begins a new one with them"
        )
    if (written := checkpoint["config"].get("format", 1)) < FORMAT:
        older = f"was written by an older version (format {written}, now {FORMAT}) and cannot be resumed"
        raise UserError(f"ckpt_path: {path} {older}; init={path} begins a new training with its weights")
    done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if max_epochs is not None and 0 <= max_epochs < done:
        raise UserError(
            f"trainer.max_epochs={max_epochs}: {path} has seen {done} epochs already; "
            f"take at least {done}, or train=false to test it"
        )
