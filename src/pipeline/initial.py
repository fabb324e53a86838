"""The module of a training that starts from the weights of a file (``init=FILE``), without a download."""

from __future__ import annotations

import warnings
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src.checkpoints.initial import lacks_encoder, origin, read_initial, take_weights
from src.checkpoints.shipped import path_of
from src.module import COSModule
from src.utils.launch import global_rank


def initial_module(cfg: DictConfig) -> COSModule:
    """Make the network of ``cfg.model`` with the weights of ``cfg.init``; optimiser and epoch start from zero.

    With ``init_strict=false`` the file may lack weights: the encoder's own (``encoder.weights``) are then fetched if
    some of the encoder's are missing, and whatever does not fit is reported as a warning.

    Raises:
        UserError: a file that cannot be read or belongs to another project; all mismatches, listed together.
    """
    path = path_of(cfg.init)
    checkpoint = read_initial(path)
    config: Any = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    module = bare_module(cfg)
    if not cfg.init_strict and lacks_encoder(module.net, checkpoint):
        module = instantiate(cfg.model)
    rest = take_weights(module.net, config, checkpoint, path, cfg.init_strict)
    if rest and global_rank() == 0:
        lines = "\n".join(f"  - {line}" for line in rest)
        warnings.warn(f"init: not taken from {path}, or missing there and initialised anew:\n{lines}", stacklevel=2)
    module.config = {"started_from": origin(checkpoint)}
    return module


def bare_module(cfg: DictConfig) -> COSModule:
    """Make the module of ``cfg.model`` with random weights, for callers that load all of them: no download."""
    model = OmegaConf.create(OmegaConf.to_container(cfg.model, resolve=True))
    OmegaConf.update(model, "net.encoder.weights", None)
    module: COSModule = instantiate(model)
    return module
