"""Paths, names and other texts mean what was typed, whatever they hold: what Hydra would read as something else is quoted for it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from hydra.core.override_parser.overrides_parser import create_functions

from src.cli.command_line import override
from src.cli.type_check import LISTS, OWN
from src.utils.errors import UserError

OF_CLASSES: dict[str, Any] = {
    "data.root": Path | None,
    "data.train_sets": list[str],
    "data.groups": str | None,
    "encoder.name": str,
    "encoder.weights": Path | None,
    "report.columns": list[str] | str | None,
    "report.published_backbones": list[str] | None,
    "report.reference": str | None,
    "logger.wandb.project": str,
    "logger.wandb.entity": str,
    "logger.wandb.name": str,
    "logger.wandb.group": str,
    "logger.wandb.notes": str,
    "logger.wandb.tags": list[str],
    "hydra.run.dir": Path,
    "hydra.sweep.dir": Path,
}
"""Texts that belong to a class; what the commands themselves take is in `OWN`."""
HYDRA_OPTIONS = frozenset(
    {
        *("help", "hydra-help", "version", "cfg", "resolve", "package", "run", "multirun", "info"),
        *("shell-completion", "config-path", "config-name", "config-dir", "experimental-rerun"),
    }
)
QUOTED = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*\"""", re.DOTALL)
ESCAPED = re.compile(r"\$\{|\\[\\()\[\]{}:=, \t]")
"""What Hydra reads inside of an unquoted value: an interpolation, an escape."""
ELEMENT = re.compile(rf"\s*({QUOTED.pattern}|[^,]*)\s*(?:,|$)", re.DOTALL)


def as_typed(words: Sequence[str]) -> list[str]:
    r"""Return a command line whose texts are quoted for Hydra where they need it; what is quoted, or ``null``, stays.

    ``--key=value`` becomes ``key=value``: `wandb agent` and other launchers write settings so. ``~`` of a path is the home folder. In a
    multirun a text with commas, or a call such as ``choice(a,b)``, remains several values, unless a file is called so.

    Raises:
        UserError: an option that is neither Hydra's nor a setting.

    >>> as_typed(["input=a=b (1).jpg", "--seed=3", "set=1e3", "data.test_sets=[2024,'a b']", "ckpt_path=null"])
    ['input="a=b (1).jpg"', 'seed=3', 'set="1e3"', 'data.test_sets=["2024",\'a b\']', 'ckpt_path=null']
    """
    words = [_without_dashes(word) for word in words]
    several = any(word == "-m" or word == "--multirun" or re.match(r"sweep=(?!null)|hydra\.mode=MULTIRUN", word) for word in words)
    return [_as_typed(word, several) for word in words]


def is_text(hint: Any) -> bool:
    """Whether a setting of this type takes a text or a path."""
    return hint in (str, Path) or any(one in (str, Path) for one in get_args(hint)) or _list_of_text(hint)


def _list_of_text(hint: Any) -> bool:
    return any(get_origin(one) in LISTS and get_args(one)[:1] == (str,) for one in (hint, *get_args(hint)))


def _takes_list(hint: Any) -> bool:
    return any(get_origin(one) in LISTS for one in (hint, *get_args(hint)))


TEXTS: Mapping[str, Any] = {key: hint for key, hint in (OWN | OF_CLASSES).items() if is_text(hint)}
CALL = re.compile(rf"({'|'.join(create_functions().functions)})\(.*\)", re.DOTALL)


def _without_dashes(word: str) -> str:
    if not word.startswith("--") or word == "--":
        return word
    name, equals, _ = word[2:].partition("=")
    if any(option == name or (option.startswith(name) and not equals) for option in HYDRA_OPTIONS):
        return word
    if not equals:
        raise UserError(f"{word}: settings are given as {name}=VALUE")
    return word[2:]


def _as_typed(word: str, several: bool) -> str:
    key, _, text = word.partition("=")
    name = key.lstrip("+")
    hint = TEXTS.get(name)
    if hint is None or not text or QUOTED.fullmatch(text) or (text.lower() == "null" and type(None) in get_args(hint)):
        return word
    if os.path.lexists(text):
        return override(key, text)
    if ESCAPED.search(text) or (several and name != "paths.output_dir" and ("," in text or CALL.fullmatch(text))):
        return word
    if _takes_list(hint) and (CALL.fullmatch(text) or (text.startswith("[") and text.endswith("]"))):
        return f"{key}={_elements(text)}" if _list_of_text(hint) and text.startswith("[") else word
    is_path = Path in (hint, *get_args(hint))
    return override(key, os.path.expanduser(text) if is_path else text)


def _elements(text: str) -> str:
    """A typed list of texts, those that need it quoted."""
    inner = text[1:-1].strip()
    found = [match[1].rstrip() for match in ELEMENT.finditer(inner) if match.start() < len(inner)]
    return f"[{','.join(one if QUOTED.fullmatch(one) else override('', one)[1:] for one in found)}]"
