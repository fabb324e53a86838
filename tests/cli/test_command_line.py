"""Command lines that are printed run as printed."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from src.cli.command_line import command_line, override, shell_line
from tests.fixtures.tiny import config

NAMES = [
    "outputs/train/2026-11-29_10-00-00", "a b", "a=b", "größer", "日本", "a,b", "a(b)", "[a]", "{a}", "it's", "a\"b",
    "#1", "a:b", "~/x", "2024", "1e3", "null", "true", "back\\slash", "back\\'quote", "end\\", "$HOME",
    "${paths.output_dir}", "*", " blank ", "a&b;c", "%",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_text_reaches_the_configuration_as_it_is(name):
    _, _, module, word = shlex.split(shell_line("src.train", override("ckpt_path", name)))
    assert module == "src.train"
    assert config("train", "experiment=quickstart", word).ckpt_path == name


def test_a_runs_own_line(monkeypatch):
    typed = [
        "experiment=quickstart",
        "++paths.output_dir=x",
        "+paths.output_dir=y",
        "sweep=optuna",
        "seed=1",
        "ckpt_path=old",
    ]
    hydra = type("Hydra", (), {"overrides": type("Overrides", (), {"task": typed})})
    monkeypatch.setattr("src.cli.command_line.HydraConfig.initialized", lambda: True)
    monkeypatch.setattr("src.cli.command_line.HydraConfig.get", lambda: hydra)
    words = shlex.split(command_line(Path("my runs"), "ckpt_path=last"))
    assert words[-5:] == [
        "src.train",
        "experiment=quickstart",
        "seed=1",
        "paths.output_dir='my runs'",
        "ckpt_path=last",
    ]
