"""Check the values of a configuration against the type hints of what they configure.

This happens before anything is made, and all mistakes are reported at once.
"""

from __future__ import annotations

import difflib
import inspect
import re
import types
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from src.utils.errors import Problems

CONF = Path(__file__).parents[2] / "conf"
PATH_OR_SWITCH = Path | bool | None
OWN: dict[str, Any] = {
    "seed": int,
    "rounds": int,
    "closing_step": bool | None,
    "sharpness": float,
    "flip": bool,
    "prompts": PATH_OR_SWITCH,
    "workers": int | None,
    "ckpt_path": Path | None,
    "init": Path | None,
    "init_strict": bool,
    "effective_batch": int | None,
    "train": bool,
    "test": bool,
    "compile": bool,
    "split": Literal["test", "holdout"],
    "overlay": bool,
    "stages": bool,
    "overwrite": bool | Literal["missing"],
    "recursive": bool,
    "frames": bool,
    "half": bool,
    "pre_post": bool,
    "boxes": Path | None,
    "trust": float,
    "input": Path,
    "output": Path,
    "out": Path | None,
    "preds": Path | None,
    "gts": Path | None,
    "images": Path | None,
    "fovs": Path | None,
    "preds_pattern": str | None,
    "gts_pattern": str | None,
    "images_pattern": str | None,
    "fovs_pattern": str | None,
    "method": str | None,
    "set": str | None,
    "spec": Path | None,
    "runtime": Path | None,
    "port": int,
    "browser": bool,
    "type": list[str] | str,
    "background": str | list[int],
    "threshold": float | None,
    "format": Literal["png", "webp"],
    "on_error": Literal["stop", "skip"],
    "full": bool,
    "image_size": int,
    "batch_size": int,
    "warmup": int,
    "repeats": int,
    "device": str,
    "csv": Path | None,
    "paths.output_dir": Path,
    "data.root": Path | None,
    "data.test_sets": list[str] | str | None,
    "data.image_size": int | None,
    "data.batch_size": int | None,
    "data.num_workers": int | None,
    "data.ignore_value": int | None,
    "ignore_value": int | None,
    "metrics.protocol": str | None,
    "metrics.extra": list[str] | None,
}
"""Settings of the commands themselves; all others belong to a class, whose type hints say what it takes."""
OF_ONE_COMMAND: dict[str, dict[str, Any]] = {
    "split": {"prompts": str | None},
    "boxes": {"prompts": Path | None},
    "pre_post": {"prompts": bool | None},
}
"""A setting that only one command has → what this command's settings are that others have for something else."""
NARROWER: dict[str, Any] = {"trainer.precision": Literal["32-true", "bf16-mixed", "16-mixed"]}
"""Settings where we accept less than the class: closed-form steps divide in float32, so weights stay float32."""
LISTS = (list, tuple, set, Sequence, Collection, Iterable)
IN_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    Path: "a path",
    type(None): "null",
}
MADE = "a configuration with _target_"


def check_own_types(cfg: DictConfig) -> None:
    """Compare the settings of the commands themselves with `OWN`; no class is imported for it.

    Raises:
        UserError: all values of a wrong type. Nothing is raised if settings of classes were given on the command line,
            too: `check_types` then reports both together.
    """
    if not _classes_are_set():
        _raise_all(_plain_problems(cfg, _own(cfg)))


def check_types(cfg: DictConfig) -> None:
    """Compare each scalar and each list with the annotation of the parameter it is for.

    Every node with a ``_target_`` is checked, which imports its class; parameters without an annotation take anything.

    Raises:
        UserError: all values of a wrong type and all settings that a ``_target_`` does not have: the key, the value,
            what was expected and, if it was not given on the command line, the file of ``conf/`` that sets it.
    """
    _raise_all([*_plain_problems(cfg, NARROWER), *_node_problems(cfg, ""), *_plain_problems(cfg, _own(cfg))])


def _own(cfg: DictConfig) -> dict[str, Any]:
    """Return `OWN` as it is for the command of a configuration."""
    own = OWN
    for setting, hints in OF_ONE_COMMAND.items():
        own = own | (hints if setting in cfg else {})
    return own


def _raise_all(problems: Iterable[tuple[str, str]]) -> None:
    """Raise all problems at once, only the first of each key."""
    found: dict[str, str] = {}
    for key, problem in problems:
        found.setdefault(key, problem)
    wrong = Problems(found.values())
    wrong.raise_all(f"{len(wrong)} settings are not valid:" if len(wrong) > 1 else "")


def _classes_are_set() -> bool:
    """Return whether the command line sets a value that is not a command's own."""
    typed = (
        [word.lstrip("+~").partition("=")[0] for word in HydraConfig.get().overrides.task]
        if HydraConfig.initialized()
        else []
    )
    return any("." in key and key not in OWN for key in typed)


def _plain_problems(cfg: DictConfig, hints: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, hint in hints.items():
        value = OmegaConf.select(cfg, key, default=...)
        if value is not ... and not fits(value, hint):
            yield key, _wrong(key, value, hint)


def _node_problems(node: DictConfig | ListConfig, prefix: str) -> Iterator[tuple[str, str]]:
    """Yield keys and problems of ``node`` and below; an interpolation's target is checked at its own place."""
    keys: Sequence[Any] = list(node.keys()) if isinstance(node, DictConfig) else range(len(node))
    parameters = parameters_of(node) if isinstance(node, DictConfig) else None
    for key in keys:
        path = f"{prefix}{key}"
        if path == "hydra" or OmegaConf.is_missing(node, key):
            continue
        if isinstance(node, DictConfig) and parameters is not None and not str(key).startswith("_"):
            if key not in parameters:
                yield path, _unknown(path, node, parameters)
            elif (value := node[key]) is None or not _is_made(value):
                hint, source = parameters[str(key)], _source(node, str(key), path)
                if not fits(value, hint):
                    yield source, _wrong(source, value, hint)
        if not OmegaConf.is_interpolation(node, key) and isinstance(node[key], (DictConfig, ListConfig)):
            yield from _node_problems(node[key], f"{path}.")


class _Anything(dict[str, Any]):
    """Parameters of something that takes any keyword."""

    def __contains__(self, key: object) -> bool:
        return True

    def __missing__(self, key: str) -> Any:
        return Any


def parameters_of(node: DictConfig) -> dict[str, Any] | None:
    """Return name → annotation of what the node's ``_target_`` takes; None without a target."""
    if "_target_" not in node:
        return None
    try:
        target = get_object(node._target_)
        signature = inspect.signature(target)
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except Exception:  # no such target (instantiate reports it), or unreadable annotations
        return _Anything()
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    found = {name: hints.get(name, Any) for name in signature.parameters}
    return _Anything(found) if takes_all else found


def fits(value: Any, hint: Any) -> bool:
    """Return whether a plain value matches a type hint; hints that say nothing about plain values match any.

    A whole number is a valid ``float``; ``true`` is not a number; a ``Path`` takes text; a callable or an object takes
    no scalar.
    """
    if hint is Any:
        return True
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in inner)
    if hint in (int, float, bool, str, Path, type(None)):
        return _is_a(value, hint)
    kind = origin or hint
    if not isinstance(kind, type) or kind is object or issubclass(kind, Enum):
        return True
    if kind in LISTS:
        if not isinstance(value, (list, tuple, ListConfig)):
            return False
        if kind is tuple and inner and inner[-1] is not ...:
            return len(inner) == len(value) and all(map(fits, value, inner))
        return not inner or all(fits(one, inner[0]) for one in value)
    if issubclass(kind, Mapping):
        return isinstance(value, (dict, DictConfig))
    return not isinstance(value, (str, int, float, bool)) and value is not None


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is Path:  # an empty path, of an unset shell variable, would mean the current folder
        return isinstance(value, (str, Path)) and str(value) != ""
    return isinstance(value, kind)


def _is_made(value: Any) -> bool:
    """Return whether Hydra makes an object of this value before it is passed on."""
    if isinstance(value, DictConfig):
        return "_target_" in value or any(_is_made(one) for one in value.values())
    return isinstance(value, ListConfig) and any(_is_made(one) for one in value)


def expected(hint: Any) -> str:
    """Return a type hint in words: ``a whole number or null``."""
    if hint in IN_WORDS:
        return IN_WORDS[hint]
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        words = list(dict.fromkeys(expected(one) for one in inner))
        return " or ".join([word for word in words if word != MADE] or words)
    if origin is Literal:
        return " or ".join(str(one) for one in inner)
    kind = origin or hint
    if kind in LISTS:
        elements = dict.fromkeys(expected(one) for one in inner if one is not ...)
        return f"a list ({', '.join(elements)})" if elements else "a list"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "a mapping"
    return MADE


def _wrong(key: str, value: Any, hint: Any) -> str:
    shown = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    is_choice = isinstance(value, str) and (CONF / key.replace(".", "/") / f"{value}.yaml").is_file()
    way = f"; a group is chosen with {key.replace('.', '/')}={value}" if is_choice else ""
    return f"{key}={shown}: expected {expected(hint)}{_written_in(key)}{way}"


def _unknown(key: str, node: DictConfig, parameters: dict[str, Any]) -> str:
    prefix, _, name = key.rpartition(".")
    close, written = difflib.get_close_matches(name, parameters, n=1), _written_in(key)
    nearest = f"; did you mean {prefix}.{close[0]}?" if close and not written else ""
    return f"{key}: {node._target_.rpartition('.')[2]} has no such setting{written}{nearest}"


def _source(node: DictConfig, name: str, path: str) -> str:
    """Return the key that a setting's value comes from."""
    if not OmegaConf.is_interpolation(node, name):
        return path
    written: Any = OmegaConf.to_container(node, resolve=False)
    found = re.fullmatch(r"\$\{([\w.]+)\}", str(written[name]))
    return found[1] if found else path


def _written_in(key: str) -> str:
    """Return the last of the chosen files of ``conf/`` that sets the key; empty if it was given on the command line."""
    if not HydraConfig.initialized():
        return ""
    hydra = HydraConfig.get()
    if any(override.lstrip("+").partition("=")[0] == key for override in hydra.overrides.task):
        return ""
    found = ""
    for group, choice in hydra.runtime.choices.items():
        path = CONF / group / f"{choice}.yaml"
        if group.startswith("hydra/") or not path.is_file():
            continue
        is_global = path.read_text(encoding="utf-8").startswith("# @package _global_")
        own = key if is_global else key.removeprefix(f"{group.replace('/', '.')}.")
        if (is_global or own != key) and OmegaConf.select(OmegaConf.load(path), own) is not None:
            found = f" (in conf/{group}/{choice}.yaml)"
    return found
