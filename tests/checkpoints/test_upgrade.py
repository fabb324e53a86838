"""Configurations of older files: what has moved is found again, what is gone is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hydra.utils import get_object

from src.checkpoints import upgrade
from src.checkpoints.upgrade import upgrade_config
from src.utils.errors import UserError


def config(**scheduler: Any) -> dict[str, Any]:
    return {"seed": 0, "model": {"scheduler": {"_partial_": True, **scheduler}}, "data": {"augmentation": [{"_target_": "a.B", "p": 0.5}]}}


def test_import_paths_that_moved_are_found_again():
    before = config(_target_="src.schedule.warmup_cosine", warmup=0.05)
    kept = copy.deepcopy(before)
    after = upgrade_config(before)
    assert after == config(_target_="src.pipeline.schedule.warmup_cosine", warmup=0.05)
    assert before == kept
    assert upgrade_config(after) == after


@pytest.mark.parametrize("target", sorted(upgrade.TARGETS.values()))
def test_they_lead_somewhere(target):
    assert callable(get_object(target))


def test_settings_are_renamed_dropped_at_their_default_and_else_named(monkeypatch):
    monkeypatch.setattr(upgrade, "RENAMED", {"here.C": {"rate": "learning_rate"}})
    monkeypatch.setattr(upgrade, "REMOVED", {"here.C": {"fast": False, "way": None}})
    after = config(_target_="here.C", learning_rate=1)
    assert upgrade_config(config(_target_="here.C", rate=1, fast=False)) == after
    assert upgrade_config(after) == after
    with pytest.raises(UserError) as error:
        upgrade_config(config(_target_="here.C", fast=True, way="far"))
    assert error.value.problems == ("model.scheduler.fast=True (only False is left)", "model.scheduler.way=far (only None is left)")
