"""Bring the configuration of an older file up to this version: import paths and settings that have moved since it was written.

Add a line to a table for each class or setting that moves; :func:`upgrade_config` leaves what is up to date as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.utils.errors import UserError

TARGETS = {
    "src.schedule.warmup_cosine": "src.pipeline.schedule.warmup_cosine",
}
"""Import path of a class or function → where it is now."""

RENAMED: dict[str, dict[str, str]] = {}
"""Class (its import path today) → old name of a setting → its name today."""

REMOVED: dict[str, dict[str, Any]] = {}
"""Class → a setting that it no longer has → the one value at which the class does today what it did then."""


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a stored configuration; one of this version comes back as it is.

    Raises:
        UserError: settings that no longer exist and were not at their default; names each with its value.
    """
    problems: list[str] = []
    upgraded: dict[str, Any] = _upgraded(config, "", problems)
    if problems:
        raise UserError("settings of an older version that no longer exist:", problems)
    return upgraded


def _upgraded(node: Any, path: str, problems: list[str]) -> Any:
    if isinstance(node, list):
        return [_upgraded(element, f"{path}{i}.", problems) for i, element in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    node = {name: _upgraded(value, f"{path}{name}.", problems) for name, value in node.items()}
    return _upgraded_class(node, path, problems) if "_target_" in node else node


def _upgraded_class(node: dict[str, Any], path: str, problems: list[str]) -> dict[str, Any]:
    """Settings of one class, in their order."""
    target = TARGETS.get(node["_target_"], node["_target_"])
    removed, renamed = REMOVED.get(target, {}), RENAMED.get(target, {})
    problems += [f"{path}{name}={node[name]} (only {value} is left)" for name, value in removed.items() if node.get(name, value) != value]
    kept = {renamed.get(name, name): value for name, value in node.items() if name not in removed}
    return kept | {"_target_": target}
