"""Texts of the command line mean what was typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from src.cli.as_typed import OF_CLASSES, TEXTS, as_typed
from src.cli.type_check import fits, parameters_of
from src.utils.errors import UserError
from tests.cli.test_command_line import NAMES
from tests.fixtures.tiny import config

TYPED = [name for name in NAMES if name not in ("back\\slash", "~/x", "null") and "$" not in name] + [
    "[a.jpg,b.jpg]",
    "glob(*)",
    "a\nb",
    "'a",
    "é",
]


@pytest.mark.parametrize("name", TYPED)
@pytest.mark.parametrize("key", ["paths.output_dir", "ckpt_path", "+data.groups"])
def test_a_text_is_what_was_typed_whatever_hydra_would_make_of_it(key, name):
    words = as_typed([f"{key}={name}"])
    assert as_typed(words) == words  # the processes of a launcher read the line again
    assert OverridesParser.create().parse_overrides(words)[0].value() == name


def test_what_hydra_is_told_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hydra = [
        "ckpt_path=null", "data.root='a b'", 'set="x"', "paths.output_dir=out/${seed}", r"input=a\,b", "seed=1e3", "threshold=null",
        "background=[1,2,3]", "type=[map,'json']", "ckpt_path=", "model=run", "~logger", "-m", "--multirun", "--cfg", "job",
        "--config-dir=x",
    ]  # fmt: skip
    assert as_typed(hydra) == hydra
    Path("a\\,b").touch()
    assert as_typed([r"input=a\,b"]) == [r'input="a\,b"']  # a file that is there is meant


def test_a_multirun_takes_several_texts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    several = ["-m", "ckpt_path=a.ckpt,b.ckpt", "data.root=choice(a,b)", "data.test_sets=[A],[B]"]
    assert as_typed(several) == several
    assert as_typed(["-m", "paths.output_dir=a,b", "data.root=a=b"]) == ["-m", 'paths.output_dir="a,b"', 'data.root="a=b"']
    Path("a,b").mkdir()
    assert as_typed(["-m", "data.root=a,b"]) == ["-m", 'data.root="a,b"']


def test_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert as_typed(["data.root=~/x", "set=~/x"]) == [f"data.root={tmp_path}/x", 'set="~/x"']
    Path("~").mkdir()
    assert as_typed(["data.root=~"]) == ['data.root="~"']


def test_lists_of_texts():
    assert as_typed(["data.train_sets=[2024, 1e3,a b,'c',CAMO]"]) == ["""data.train_sets=["2024","1e3","a b",'c',CAMO]"""]
    assert config("train", "data=cod", *as_typed(["data.test_sets=[2024,null]"])).data.test_sets == ["2024", "null"]


def test_options_are_settings():
    assert as_typed(["--seed=1", "--model.optimizer.lr=3e-4", "--data.root=a b"]) == [
        "seed=1",
        "model.optimizer.lr=3e-4",
        'data.root="a b"',
    ]
    with pytest.raises(UserError, match="--seed: settings are given as seed=VALUE"):
        as_typed(["--seed", "1"])


def test_the_table_agrees_with_the_classes():
    full = config("train", "data=cod", "logger=wandb")
    for key in OF_CLASSES:
        node, _, name = key.rpartition(".")
        parameters = None if node.startswith("hydra") else parameters_of(OmegaConf.select(full, node) or OmegaConf.create())
        assert parameters is None or name not in parameters or fits(["a"] if TEXTS[key] == list[str] else "a", parameters[name]), key
