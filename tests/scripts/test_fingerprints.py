"""The fingerprints of networks: equal if nothing has changed, different if a number or a name has."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from scripts import fingerprints
from scripts.fingerprints import PARTS, compare, composed, difference, digest, record

CHOICE = "model=fpn"


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """One thread: at this size several only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fingerprints, "FIXED", (*fingerprints.FIXED, "encoder.name=lcnet_050", "model.net.channels=8"))
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fingerprints") / "recorded"
    record(folder, [CHOICE])
    return folder


@pytest.fixture
def changed(recorded, tmp_path):
    """Write the recording anew with ``change`` applied to its tensors by part; returns the new folder."""

    def write(change) -> Path:
        (tmp_path / fingerprints.MANIFEST).write_bytes((recorded / fingerprints.MANIFEST).read_bytes())
        (file,) = recorded.glob("*.pt")
        torch.save(change(torch.load(file, weights_only=True)), tmp_path / file.name)
        return tmp_path

    return write


def test_the_same_code_computes_the_same(recorded, capsys):
    assert compare(recorded) == []
    assert capsys.readouterr().out == f"{CHOICE}: initialisation same, outputs same, loss same, gradients same\n"


def test_one_changed_bit_is_found_in_every_part(changed, capsys):
    def nudge(tensors):
        for part in PARTS:
            first = next(iter(tensors[part].values()))
            first[(0,) * first.ndim] = torch.nextafter(first.flatten()[0], torch.tensor(torch.inf))
        return tensors

    assert compare(changed(nudge)) == [CHOICE]
    said = capsys.readouterr().out
    assert [f"{part} other in 1 of" in said for part in PARTS] == [True] * len(PARTS)


def test_another_initialisation_alone_is_told_and_passes(changed, capsys):
    assert compare(changed(lambda tensors: {**tensors, "initialisation": tensors["state"]})) == []
    assert re.fullmatch(
        rf"{CHOICE}: initialisation other in .*, outputs same, loss same, gradients same\n", capsys.readouterr().out
    )


def test_old_names_are_translated_for_state_and_gradients(changed, monkeypatch):
    def old_names(tensors):
        named = {"initialisation", "state", "gradients"}
        return {p: {f"old.{n}": t for n, t in v.items()} if p in named else v for p, v in tensors.items()}

    def new_names(state, config):
        return {name.removeprefix("old."): tensor for name, tensor in state.items()}

    upgrade = SimpleNamespace(upgrade_config=lambda config: config, upgrade_state=new_names)
    monkeypatch.setitem(sys.modules, "src.checkpoints.upgrade", upgrade)
    assert compare(changed(old_names)) == []


def test_a_stored_configuration_that_means_something_else_is_compared_too(recorded, monkeypatch):
    def narrower(config):
        return {**config, "model": {**config["model"], "net": {**config["model"]["net"], "channels": 4}}}

    upgrade = SimpleNamespace(upgrade_config=narrower, upgrade_state=lambda state, config: state)
    monkeypatch.setitem(sys.modules, "src.checkpoints.upgrade", upgrade)
    assert compare(recorded) == [f"{CHOICE} (stored configuration)"]


def test_a_choice_that_is_gone_is_told_beside_what_its_stored_configuration_computes(recorded, monkeypatch, capsys):
    monkeypatch.setattr(fingerprints, "CONF", recorded)
    assert compare(recorded) == [CHOICE]
    today, stored = capsys.readouterr().out.splitlines()
    assert today.startswith(f"{CHOICE}: error ")
    assert stored == f"{CHOICE} (stored configuration): initialisation same, outputs same, loss same, gradients same"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["record", "."], ". exists"),
        (["compare", "nowhere"], "nowhere holds no manifest.json"),
        (["record", "new", "model=fnp"], "no such choice: model=fnp; choose from experiment="),
    ],
)
def test_mistakes_end_with_status_2_before_any_work(words, told, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fingerprints", *words])
    with pytest.raises(SystemExit, match="2"):
        fingerprints.main()
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_old_choice_takes_its_new_name_once_there_is_one(tmp_path, monkeypatch):
    assert composed("experiment=camo_core") == composed("experiment=camo_lite0")
    monkeypatch.setitem(fingerprints.RENAMED, "model=fpn", "model=unet")
    assert composed("model=fpn")["model"]["net"]["_target_"].endswith("UNet")
    monkeypatch.setitem(fingerprints.RENAMED, "model=fpn", "model=not_there_yet")
    assert composed("model=fpn")["model"]["net"]["_target_"].endswith("FPN")


def test_digest_tells_names_orders_types_and_zeros_apart():
    one, two = torch.ones(2), torch.zeros(2)
    assert digest({"a": one, "b": two}) == digest({"b": two, "a": one})
    assert digest({"a": one, "b": two}, names=False) == digest({"c": one, "d": two}, names=False)
    others = [
        {"a": two, "b": one},
        {"a": one, "c": two},
        {"a": one, "b": -two},
        {"a": one, "b": two.double()},
        {"a": one, "b": two[None]},
    ]
    assert digest({"a": one, "b": two}) not in {digest(other) for other in others}


def test_difference_says_what_is_missing_and_how_far_the_rest_is():
    expected = {"near": torch.ones(3), "far": torch.full((3,), 2.0)}
    assert difference(expected, {**expected, "new": torch.ones(1)}) == "same"
    assert "1 of 2 are missing or of another shape (far)" in difference(expected, {"near": expected["near"]})
    said = difference(expected, {"near": expected["near"] + 1e-6, "far": torch.ones(3)})
    assert said == "other in 2 of 2 (far by 1.0e+00, its largest value is 2.0e+00)"
