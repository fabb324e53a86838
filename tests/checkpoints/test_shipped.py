"""The networks that come with the project: known by name wherever a file is taken, and small enough to ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.checkpoints.finding import resolve_checkpoint
from src.checkpoints.shipped import FOLDER, no_network, path_of, shipped_networks
from src.inference.opening import network_file

NAME = "run-camo-lite0"


def test_a_name_means_the_file_in_every_command():
    file = FOLDER / f"{NAME}.safetensors"
    assert NAME in shipped_networks()
    assert path_of(NAME) == network_file(NAME) == resolve_checkpoint(NAME, "nowhere") == file
    assert file.is_file()


def test_a_path_of_that_name_is_preferred(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(NAME).mkdir()
    assert path_of(NAME) == Path(NAME)


@pytest.mark.parametrize("path", ["outputs/run.ckpt", "run-camo-lite0.safetensors", "folder/run-camo-lite0"])
def test_everything_else_means_itself(path):
    assert path_of(path) == Path(path)


def test_an_unknown_name_gets_the_known_ones():
    message = no_network(Path("run-camo-lite7"))
    assert message.startswith("no file run-camo-lite7, and no network of that name; the project comes with ")
    assert NAME in message
    assert "comes with" not in no_network(Path("run.ckpt"))


@pytest.mark.parametrize("name", shipped_networks())
def test_each_is_at_most_nine_megabytes(name):
    assert path_of(name).stat().st_size <= 9e6
