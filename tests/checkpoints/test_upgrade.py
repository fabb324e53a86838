"""Configurations of older files: settings that moved are found, settings that are gone are named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hydra.utils import get_object

from src.checkpoints import upgrade
from src.checkpoints.network import load_network
from src.checkpoints.reading import read_checkpoint
from src.checkpoints.rebuild import check_epochs, rebuild
from src.checkpoints.upgrade import upgrade_config, upgrade_state
from src.utils.errors import UserError
from tests.fixtures.tiny import ROOT

OLD = ROOT / "tests" / "fixtures" / "run_384e7e4.ckpt"


def config(**scheduler: Any) -> dict[str, Any]:
    return {
        "seed": 0,
        "model": {"scheduler": {"_partial_": True, **scheduler}},
        "data": {"augmentation": [{"_target_": "a.B", "p": 0.5}]},
    }


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
    assert error.value.problems == (
        "model.scheduler.fast=True (only False is left)",
        "model.scheduler.way=far (only None is left)",
    )


def test_tensors_are_renamed_in_the_network_that_did_it(monkeypatch):
    monkeypatch.setattr(upgrade, "TENSORS", {"here.Net": {"net.head.": "net.mask_head."}})
    state = {"net.head.weight": 1, "net.header": 2}
    assert upgrade_state(state, {"model": {"net": {"_target_": "here.Net"}}}) == {
        "net.mask_head.weight": 1,
        "net.header": 2,
    }
    assert upgrade_state(state, {"model": {"net": {"_target_": "here.Other"}}}) == state


def upgraded_run(**settings: Any) -> dict[str, Any]:
    old = {"_target_": "src.models.run.RUN", "encoder": {"name": "lcnet_050"}, **settings}
    net = upgrade_config({"model": {"net": old}})["model"]["net"]
    assert upgrade_config({"model": {"net": net}})["model"]["net"] == net
    return net


def test_every_former_setting_of_run_has_a_place():
    """Changing one old setting changes one thing in the upgraded configuration."""
    changed = {
        "levels": [8, 8],
        "share_stages": "all",
        "branches": "small",
        "uncertain_band": "one",
    }
    before = upgraded_run(mask_residual=True)
    for name, default in upgrade.RUN_DEFAULTS.items():
        other = changed[name] if name in changed else not default if isinstance(default, bool) else default + 1
        after = upgraded_run(**{"mask_residual": True, name: other} if name != "mask_residual" else {})
        assert after != before, name


def test_off_is_null():
    net = upgraded_run(mask_step=False, robe=False, mask_residual=False, state_space=False)
    assert net["mask_step"] is None
    assert net["robe"] is None
    assert net["state_space"] == {
        "_target_": "src.models.sofs.ReversibleStateSpace",
        "_partial_": True,
        "scan": False,
        "edge_head": True,
        "branches": "both",
        "phi": True,
        "gamma": None,
    }
    assert upgraded_run(mask_residual=True, gamma=0.5)["state_space"]["gamma"] == 0.5


def test_what_an_old_configuration_does_not_say_means_what_it_meant_then():
    assert upgraded_run() == upgraded_run(**upgrade.RUN_DEFAULTS)
    assert upgraded_run()["levels"] == "coarse_to_fine"
    assert upgraded_run()["closing_step"] is False


def test_a_file_of_the_old_version_computes_what_it_computed():
    """Written by commit 384e7e4: RUN with every setting of an experiment; the file holds logits of a fixed image."""
    stored = torch.load(OLD, weights_only=True)
    net, config = load_network(OLD)
    axis = torch.linspace(0, 1, 64)
    image = torch.stack([axis[:, None].expand(64, 64), axis.expand(64, 64), axis[:, None] * axis])[None]
    with torch.no_grad():
        found = net(image).mask_logits[0, 0, ::16, ::16]
    torch.testing.assert_close(found, stored["expected"], atol=1e-4, rtol=1e-4)
    settings = config["model"]["net"]
    assert (settings["mask_step"]["mu"], settings["robe"]["lam"], settings["state_space"]["gamma"]) == (0.02, 0.3, 0.5)
    assert settings["robe"]["reads_image"] is False
    assert rebuild(read_checkpoint(OLD), OLD).net.levels == (16, 8)


def test_no_training_resumes_from_it():
    with pytest.raises(
        UserError, match=r"run_384e7e4\.ckpt was written by an older version \(format 1, now 2\) and cannot be resumed"
    ):
        check_epochs(None, read_checkpoint(OLD), OLD)


def test_files_without_the_setting_mean_networks_of_pixels():
    net = {"_target_": upgrade.RUN, "state_space": {}}
    parts = {"mask_step": "src.models.sofs.MaskStep", "robe": "src.models.robe.ROBE"}
    old = net | {name: {"_target_": target} for name, target in parts.items()}
    new = upgrade_config({"model": {"net": old}})["model"]["net"]
    assert (new["mask_step"]["gradient"], new["robe"]["network"], new["robe"]["widths"]) == (
        "pixel",
        "pixel",
        [16, 32, 48],
    )
    new["robe"] |= {"network": "space_to_depth", "widths": [8, 8, 8]}
    assert upgrade_config({"model": {"net": new}})["model"]["net"] == new
