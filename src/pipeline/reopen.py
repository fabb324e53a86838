"""Open the network and the data of a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from src.checkpoints.network import load_network
from src.data.datamodule import COSDataModule
from src.models.run import RUN
from src.models.wrappers import network_name
from src.utils.errors import UserError

SPLITS = ("test", "holdout")


def open_split(data: dict[str, Any], overrides: dict[str, Any], split: str) -> COSDataModule:
    """Return the checkpoint's data, set up and checked for testing.

    Args:
        data: the checkpoint's group ``data``.
        overrides: settings that replace those of ``data``.
        split: ``test``: the test sets; ``holdout``: the hold-out as the only test set.

    Raises:
        UserError: an unknown split, test sets together with ``holdout``, or data that cannot be used.
    """
    if split not in SPLITS:
        raise UserError(f"split={split}: expected {' or '.join(SPLITS)}")
    if "prompts" in data:  # for training only; their maps need not exist here
        data = data | {"prompts": None}
    if split == "test":
        datamodule: COSDataModule = instantiate(OmegaConf.merge(data, overrides))
        datamodule.setup("test")
        return datamodule
    if "test_sets" in overrides:
        raise UserError("data.test_sets: split=holdout reads no test set; leave one of the two out")
    unread = {"test_sets": [], "cache": False}  # not needed, so they need not exist
    datamodule = instantiate(
        OmegaConf.merge(data, {key: value for key, value in unread.items() if key in data}, overrides)
    )
    datamodule.test_on_holdout()
    return datamodule


def load_trained_run(
    checkpoint_path: Path, data: Path | None, test_set: str | None = None
) -> tuple[RUN, dict[str, Any], COSDataModule]:
    """Load a trained RUN (or its no-unfolding control), its configuration, and its hold-out as the only test set.

    Args:
        checkpoint_path: a checkpoint or exported weights.
        data: data.root, if it differs from the training's.
        test_set: a test set instead of the hold-out.

    Raises:
        UserError: not a checkpoint of RUN, or data that cannot be used.
    """
    net, config = load_network(checkpoint_path)
    if not isinstance(net, RUN):
        raise UserError(f"{checkpoint_path}: {network_name(net)} has no stages to look into")
    overrides: dict[str, Any] = {"root": str(data)} if data else {}
    if test_set is None:
        return net, config, open_split(config["data"], overrides, "holdout")
    return net, config, open_split(config["data"], overrides | {"test_sets": [test_set]}, "test")
