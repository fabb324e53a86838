"""Every shipped configuration composes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.cli.type_check import check_types

CONF = Path(__file__).parents[2] / "conf"


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (CONF / "experiment").glob("*.yaml")))
@pytest.mark.parametrize("model", [None, "run", "fpn", "fpn_ds"])
def test_experiment_composes(experiment, model):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"experiment={experiment}", "paths.output_dir=out", *([f"model={model}"] if model else [])])
    plain = OmegaConf.to_container(cfg, resolve=True)
    assert plain["model"]["net"]["encoder"]["_target_"] == "src.models.encoder.PyramidEncoder"
    assert plain["callbacks"]["best"]["dirpath"] == "out/checkpoints"
    if not (experiment == "quickstart" and model):
        check_types(cfg)
