"""What all scripts share: the data root as the commands take it, help, one line per mistake and the exit status."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from src.cli.script import ScriptParser
from src.utils.errors import UserError


def ended(task: Any, *words: str, of_training: bool = False) -> Any:
    """The exit status of a script that reads data."""
    parser = ScriptParser("What it does.")
    parser.add_argument("--only", nargs="+")
    parser.add_data_root(of_training)
    with pytest.raises(SystemExit) as exit:
        parser.run(task, words)
    return exit.value.code


@pytest.mark.parametrize(
    ("words", "of_training", "expected"),
    [
        (["data.root=a=b"], False, Path("a=b")),
        ([], False, Path("elsewhere")),
        ([], True, None),
        (["--only", "x", "data.root=a"], True, Path("a")),
    ],
)
def test_the_data_root_is_given_as_to_the_commands(words, of_training, expected, monkeypatch):
    monkeypatch.setenv("COS_DATA", "elsewhere")
    seen: list[Namespace] = []
    assert ended(seen.append, *words, of_training=of_training) == 0
    assert seen[0].data_root == expected


def test_the_status_is_that_of_the_task_or_2_after_a_mistake(capsys):
    def mistaken(arguments: Namespace) -> None:
        raise UserError("first line")

    assert ended(lambda arguments: 130) == 130
    assert ended(mistaken) == 2
    assert capsys.readouterr().err == "error: first line\n"


def test_mistakes_in_the_arguments_take_one_line(capsys):
    assert ended(print, "--what") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("error: unrecognized arguments: --what")


def test_help_names_the_data_root(capsys):
    assert ended(print, "--help") == 0
    assert "data.root=FOLDER" in capsys.readouterr().out
