"""The example of a W&B sweep works as it is printed."""

from __future__ import annotations

import re

import yaml

from src.cli.as_typed import as_typed
from src.cli.type_check import check_types
from tests.fixtures.tiny import ROOT, config


def test_the_words_of_wandb_agent_make_a_training():
    page = (ROOT / "docs" / "how-to" / "search.md").read_text(encoding="utf-8")
    sweep = yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1])
    values = {key: what.get("min", what.get("values", [0])[0]) for key, what in sweep["parameters"].items()}
    typed = [word for word in sweep["command"] if "=" in word] + [f"--{key}={value}" for key, value in values.items()]
    cfg = config("train", *as_typed(typed))
    check_types(cfg)
    assert (cfg.model.optimizer.lr, cfg.loss.edge, cfg.model.net.num_stages) == tuple(values.values())
    assert sweep["program"] == "src.train"
