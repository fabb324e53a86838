"""Every shipped experiment composes, with its own model and with the others, and its settings have the right types."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from src.cli.command import CONF
from src.cli.type_check import check_types
from tests.fixtures.tiny import config

EXPERIMENTS = sorted(path.stem for path in (Path(CONF) / "experiment").glob("*.yaml"))
NOT_FOR_OTHERS = {"quickstart", "finetune"}
"""Experiments with settings that only RUN has: another model is refused, because it has no such setting."""


@pytest.fixture(scope="module")
def networks() -> dict[str, str]:
    """Model → class of its network."""
    return {model: config("train", f"model={model}").model.net._target_ for model in ("run", "fpn", "fpn_ds")}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_keeps_its_files_in_the_output_folder(experiment):
    cfg = config("train", f"experiment={experiment}", "paths.output_dir=out")
    check_types(cfg)
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert plain["callbacks"]["best"]["dirpath"] == "out/checkpoints"


@pytest.mark.slow
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_an_experiment_takes_another_model(experiment, networks):
    for model, network in networks.items():
        cfg = config("train", f"experiment={experiment}", "paths.output_dir=out", f"model={model}")
        assert OmegaConf.to_container(cfg, resolve=True)["model"]["net"]["_target_"] == network
        if experiment not in NOT_FOR_OTHERS:
            check_types(cfg)
