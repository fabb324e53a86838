"""Report in one line overrides and groups that do not exist, with the nearest ones that do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.errors import HydraException, InstantiationException, MissingConfigException, OverrideParseException
from omegaconf import Container, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.cli.as_typed import typable
from src.cli.signatures import parameter_names
from src.utils.errors import UserError
from src.utils.private import root_of

CONF = Path(__file__).parents[2] / "conf"
FORMER = {
    "model.net.mask_residual": "model.net.state_space.gamma=null in the place of false",
    "model.net.robe_image": "model.net.robe.reads_image",
}
"""Settings of the last release whose new names cannot be guessed from the old ones."""

_NOT_IN_DEFAULTS = re.compile(r"Could not override '([^']*)'\. *\n?No match in the defaults list")


def composition_mistake(error: BaseException) -> str | None:
    """Return one line for an error that Hydra raises while it composes; None for any other error."""
    # Hydra doesn't say which group.
    if isinstance(error, ValueError) and str(error).startswith("Config group override must be"):
        return "null is no choice of a group: take an empty list (logger=[], callbacks=[]), or ~GROUP"
    if isinstance(error, UserError):
        return str(error)
    if not isinstance(error, HydraException) or isinstance(error, InstantiationException):
        return None
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _no_such_choice(error.missing_cfg_file, error.options or [])
    cause = error.__cause__
    if (
        isinstance(cause, OmegaConfBaseException)
        and isinstance(cause.parent_node, Container)
        and "not in struct" in str(cause)
    ):
        return _no_such_key(str(cause.full_key), cause.parent_node)
    if no_choice := _NOT_IN_DEFAULTS.match(str(error)):
        return f"{no_choice[1]}: not a group of choices of this command; --help lists what it takes"
    text = str(error) if cause is None or isinstance(error, OverrideParseException) else f"{error} ({cause})"
    lines = [
        line.strip()
        for line in text.splitlines()
        if line.strip() and not line.startswith(("See https://", "Set the environment"))
    ]
    shown = "; ".join(lines)
    if not isinstance(error, OverrideParseException):
        return shown
    way = (
        f"; if the value is a text, quote it for Hydra too: {typable(error.override)}" if "=" in error.override else ""
    )
    return f"{error.override}: {shown}{way}"


def _no_such_choice(missing: str, options: Sequence[str]) -> str:
    group, _, name = missing.removesuffix(".yaml").rpartition("/")
    # For a list of choices Hydra names no options.
    options = options or sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    options = [option for option in options if option != "base"]  # part of the others
    close = difflib.get_close_matches(name, options, n=3)
    there = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(options) or 'none'}"
    return f"{group}={name}: no such choice; {there}"


def _no_such_key(key: str, parent: Container) -> str:
    """Return a message that suggests similar keys.

    Tried in this order: the same name deeper, in a part; near matches beside the key; the same name elsewhere; near
    matches anywhere.
    """
    if key in FORMER:
        return f"{key}: there is no such setting any more; write {FORMER[key]}"
    prefix, _, name = key.rpartition(".")
    target = str(parent.get("_target_", "")) if isinstance(parent, DictConfig) else ""
    if target and takes(target, name):
        return f"{key}: not among the settings of conf/, but {target.rpartition('.')[2]} takes it: write +{key}=…"
    root = root_of(parent)
    groups = {str(path.relative_to(CONF)) for path in CONF.rglob("*") if path.is_dir()} - {"hydra"}
    everywhere = sorted(set(_paths(root)) | groups)
    beside = [path for path in everywhere if path.rpartition(".")[0] == prefix]
    nearest = difflib.get_close_matches(name, _names(beside), n=2)
    close = [path for path in everywhere if path.startswith(f"{prefix}.") and path.rpartition(".")[2] == name]
    close = close or [path for path in beside if path.rpartition(".")[2] in nearest]
    close = close or [path for path in everywhere if path.rpartition(".")[2] == name]
    close = close or [
        path
        for path in everywhere
        if path.rpartition(".")[2] in difflib.get_close_matches(name, _names(everywhere), n=1)
    ]
    way = f"did you mean {' or '.join(close[:3])}?" if close else f"add it with +{key}=… if it is meant to be new"
    return f"{key}: there is no such setting; {way}"


def takes(target: str, name: str) -> bool:
    """Return whether the class or function at a dotted path takes a keyword; True if its source cannot be read."""
    names = parameter_names(target)
    return names is None or name in names


def _names(paths: list[str]) -> list[str]:
    return sorted({path.rpartition(".")[2] for path in paths})


def _paths(node: object, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a configuration, but none below an interpolation, whose target has its own."""
    if not isinstance(node, DictConfig):
        return
    for name in map(str, node):
        key = f"{prefix}{name}"
        if key != "hydra" and not name.startswith("_"):
            yield key
            if not OmegaConf.is_interpolation(node, name) and not OmegaConf.is_missing(node, name):
                yield from _paths(node[name], f"{key}.")
