r"""Command lines mean what was typed: text settings are text, paths are paths, and `--key=value` is an override.

Hydra has a grammar for values, in which `2024` is a number, `a=b` and `größe` are syntax errors, and a trailing blank
is lost. The values of text settings are therefore quoted here, unless they are quoted already, hold an
interpolation (`${…}`), or are swept in a multirun.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.types import Quote, QuotedString

from src.cli.command_line import override
from src.cli.type_check import OWN, PATH_OR_SWITCH
from src.utils.errors import UserError

LISTS = frozenset({"data.train_sets", "data.test_sets", "metrics.extra", "type", "report.columns", "logger.wandb.tags"})
"""Settings that take a list of texts, or one."""
SWITCHES = frozenset(key for key, hint in OWN.items() if hint == PATH_OR_SWITCH)
"""Settings that are text in one command, and true or false in another."""
TEXTS = frozenset(key for key, hint in OWN.items() if hint in (str, str | None, Path, Path | None, PATH_OR_SWITCH)) | {
    *("data.root", "data.groups", "data.images", "data.masks", "background", "task_name", "report.reference"),
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "encoder.weights", "model.net.encoder.weights"),
    *(f"logger.wandb.{name}" for name in ("project", "entity", "name", "notes", "group", "job_type", "save_dir")),
}
HYDRAS = frozenset(
    [
        "help",
        "hydra-help",
        "version",
        "cfg",
        "resolve",
        "package",
        "run",
        "multirun",
        "shell-completion",
        "config-path",
        "config-name",
        "config-dir",
        "experimental-rerun",
        "info",
    ]
)
"""Hydra's own options."""
MULTIRUN = ("-m", "--multirun")
SWEPT = re.compile(r".*,|(choice|range|interval|glob|sort|shuffle|tag)\(")


def as_typed(words: Sequence[str]) -> list[str]:
    """Return the words of a command line as Hydra needs them.

    Raises:
        UserError: bytes that are not UTF-8, or an option that Hydra does not have.

    >>> as_typed(["model=run", "-m", "seed=0,1"])
    ['-m', 'model=run', 'seed=0,1']
    >>> as_typed(["data.root=my data (2024)", "set=1e3", "--seed=3", "data.test_sets=[007,CAMO]", "seed=0"])
    ["data.root='my data (2024)'", "set='1e3'", 'seed=3', "data.test_sets=['007',CAMO]", 'seed=0']
    """
    broken = [word for word in words if any("\ud800" <= letter <= "\udfff" for letter in word)]
    if broken:
        shown = ", ".join(ascii(word) for word in broken)
        raise UserError(
            f"{shown}: holds bytes that are no UTF-8, as names of another encoding do; rename the file or folder"
        )
    flags = [word for word in words if word in MULTIRUN]
    sweeps = bool(flags) or any(word == "hydra.mode=MULTIRUN" or word.startswith("sweep=") for word in words)
    settings = [_override(_without_dashes(word), sweeps) for word in words if word not in MULTIRUN]
    return [*flags, *settings]  # Hydra rejects flags between settings


def _without_dashes(word: str) -> str:
    """Return `--key=value`, as `wandb agent` writes it, as an override unless Hydra has that option; None is null."""
    match = re.fullmatch(r"--([A-Za-z_][\w./@-]*)=(.*)", word, re.DOTALL)
    name = word.removeprefix("--")
    if match is None and name != word and "=" not in word and not any(option.startswith(name) for option in HYDRAS):
        raise UserError(f"{word}: settings are given as {name}=VALUE")
    if match is None or match[1] in HYDRAS:
        return word
    return f"{match[1]}={'null' if match[2] == 'None' else match[2]}"


def _override(word: str, sweeps: bool) -> str:
    key, equals, value = word.partition("=")
    name = key.lstrip("+")
    if not equals or name not in TEXTS | LISTS or (sweeps and SWEPT.match(value)):
        return word
    if name in SWITCHES and value.lower() in ("true", "false"):
        return word
    if name in LISTS and value.startswith("[") and value.endswith("]"):
        is_plain = not re.search(r"['\"\[\]{}]", value[1:-1])
        return (
            f"{key}=[{','.join(_quoted(part.strip()) for part in value[1:-1].split(','))}]"
            if is_plain and value != "[]"
            else word
        )
    if name == "background" and value.startswith("["):
        return word
    return f"{key}={_quoted(os.path.expanduser(value) if value == '~' or value.startswith('~/') else value)}"


def _quoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    if not value or value in ("null", "???") or is_quoted or "${" in value:
        return value
    return override("", value).removeprefix("=")


def typable(word: str) -> str:
    """Return an override as it can be typed, its value quoted for Hydra and for the shell."""
    key, _, value = word.partition("=")
    return shlex.quote(f"{key}={QuotedString(value, Quote.double).with_quotes()}")
