"""What every command line shares: configuration by Hydra, user errors in one place, one folder a run."""

from __future__ import annotations

import functools
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from src.utils.errors import user_error
from src.utils.memory import keep_freed_memory

CONF = str(Path(__file__).parents[2] / "conf")
NOISE = (
    ".*does not have many workers.*",
    ".*exists and is not empty.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*Converting a tensor with requires_grad=True to a scalar.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)

Task = Callable[[DictConfig], Any]


def command(config_name: str) -> Callable[[Task], Callable[[], None]]:
    """Turn ``task(cfg)`` into a ``main()`` configured by ``conf/<config_name>.yaml``.

    A `UserError` is printed without a traceback and ends the process with status 2, also when Hydra's
    `instantiate` has wrapped it. In a multirun ``paths.output_dir`` becomes the job's own folder.
    """

    def decorate(task: Task) -> Callable[[], None]:
        @functools.wraps(task)
        def run(cfg: DictConfig) -> Any:
            prepare()
            OmegaConf.update(cfg, "paths.output_dir", HydraConfig.get().runtime.output_dir)
            try:
                return task(cfg)
            except Exception as error:
                mistake = user_error(error)
                if mistake is None:
                    raise
                print(f"error: {_plain(str(mistake))}", file=sys.stderr)
                sys.exit(2)

        return hydra.main(version_base="1.3", config_path=CONF, config_name=config_name)(run)

    return decorate


def _plain(message: str) -> str:
    """Without the traceback that a data-loading worker puts before its message."""
    return message.rsplit("UserError: ", 1)[-1].rstrip() if "Original Traceback" in message else message


def prepare() -> None:
    """What every process does first: keep freed memory, and silence what libraries say that nobody can act on."""
    keep_freed_memory()
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for pattern in NOISE:
        warnings.filterwarnings("ignore", pattern)
    for name in ("lightning.pytorch.utilities.rank_zero", "timm"):
        logging.getLogger(name).setLevel(logging.WARNING)


def console() -> Console:
    """Where commands print: as wide as the terminal, or 120 columns when there is none."""
    out = Console()
    return out if out.is_terminal else Console(width=120)
