"""Old names of choices: each stands for a new one that exists, and a line says so."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from src.cli import command
from src.cli.renamed import RENAMED, with_new_names


@pytest.mark.parametrize(
    ("group", "old", "new"), [(group, *names) for group, one in RENAMED.items() for names in one.items()]
)
def test_an_old_name_is_replaced_by_one_that_exists(group, old, new, capsys):
    assert with_new_names([f"{group}={old}", "seed=1"]) == [f"{group}={new}", "seed=1"]
    assert (
        capsys.readouterr().err == f"{group}={old} is now called {group}={new}; the next release drops the old name\n"
    )
    assert (Path(command.CONF) / group / f"{new}.yaml").is_file()
    assert not (Path(command.CONF) / group / f"{old}.yaml").exists()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("+loss=paper,measured", "+loss=published,measured"),
        ("loss=paperback", "loss=paperback"),
        ("ablation=glob(*)", "ablation=glob(*)"),
        ("ckpt_path=loss=paper", "ckpt_path=loss=paper"),
        ("~loss", "~loss"),
        ("data=", "data="),
    ],
)
def test_only_whole_choices_of_the_group_are_replaced(word, expected):
    assert with_new_names([word]) == [expected]


def test_one_line_per_name(capsys):
    with_new_names(["ablation=finest_twice,full", "ablation=[no_phi,finest_twice]"])
    assert capsys.readouterr().err.count("\n") == 1


def test_other_ranks_are_silent(capsys, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert with_new_names(["loss=paper"]) == ["loss=published"]
    assert capsys.readouterr().err == ""


def test_a_command_composes_with_the_new_name(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train", "--cfg", "job", "--package", "model.loss", "loss=paper"])
    command.command("train")(lambda cfg: None)()
    out, err = capsys.readouterr()
    assert "background: 0.0" in out
    assert err.startswith("loss=paper is now called loss=published")
