"""Open what a checkpoint was trained with: its network and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.checkpoints.network import load_network
from src.data.datamodule import COSDataModule
from src.models.rounds import network_name
from src.models.run import RUN
from src.utils.errors import UserError

SPLITS = ("test", "holdout")


def open_split(data: dict[str, Any], overrides: dict[str, Any], split: str) -> COSDataModule:
    """The checkpoint's data with the test sets, or the hold-out in their place, set up and checked."""
    if split not in SPLITS:
        raise UserError(f"split={split}: expected {' or '.join(SPLITS)}")
    if split == "test":
        datamodule: COSDataModule = instantiate(OmegaConf.merge(data, overrides))
        datamodule.setup("test")
        return datamodule
    if "test_sets" in overrides:
        raise UserError("data.test_sets: split=holdout reads no test set; leave one of the two out")
    unread = {"test_sets": [], "cache": False}  # neither has to be there
    datamodule = instantiate(
        OmegaConf.merge(data, {key: value for key, value in unread.items() if key in data}, overrides)
    )
    datamodule.test_on_holdout()
    return datamodule


def load_trained_run(checkpoint_path: Path, data: Path | None) -> tuple[RUN, dict[str, Any], COSDataModule]:
    """Load a trained RUN (or its no-unfolding control) to look into, its configuration, and its hold-out as the only test set.

    Args:
        checkpoint_path: a checkpoint or exported weights.
        data: data.root, where it is not the one of the training.

    Raises:
        UserError: no checkpoint of RUN, or data that cannot be used.
    """
    net, config = load_network(checkpoint_path)
    if not isinstance(net, RUN):
        raise UserError(f"{checkpoint_path}: {network_name(net)} has no stages to look into")
    return net, config, open_split(config["data"], {"root": str(data)} if data else {}, "holdout")
