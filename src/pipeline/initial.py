"""The module of a training that begins with the weights of a file (``init=FILE``), without a download."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.initial import lacks_encoder, origin, read_initial, take_weights
from src.module import COSModule
from src.utils.launch import global_rank


def initial_module(cfg: DictConfig) -> COSModule:
    """Make the network that ``cfg.model`` describes and give it the weights of ``cfg.init``; optimiser and epoch begin anew.

    The encoder's own weights (``encoder.weights``) are only fetched where the file does not hold them all, which
    ``init_strict=false`` allows. What does not fit is then reported as a warning.

    Raises:
        UserError: a file that cannot be read or belongs to another project; a mismatch, all of it listed.
    """
    path = Path(cfg.init)
    checkpoint = read_initial(path)
    config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    module = bare_module(cfg)
    if not cfg.init_strict and lacks_encoder(module.net, checkpoint):
        module = instantiate(cfg.model)
    rest = take_weights(module.net, config, checkpoint, path, cfg.init_strict)
    if rest and global_rank() == 0:
        lines = "\n".join(f"  - {line}" for line in rest)
        warnings.warn(f"init: not taken from {path}, or not in it and as in a new training:\n{lines}", stacklevel=2)
    module.config = {"started_from": origin(checkpoint)}
    return module


def bare_module(cfg: DictConfig) -> COSModule:
    """Make the module of ``cfg.model`` with random weights in its encoder too, for those who load all of them: nothing is downloaded."""
    model = OmegaConf.create(OmegaConf.to_container(cfg.model, resolve=True))
    OmegaConf.update(model, "net.encoder.weights", None)
    module: COSModule = instantiate(model)
    return module
