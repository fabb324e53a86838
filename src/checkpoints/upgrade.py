"""Bring the configuration of an older file up to this version, where import paths and settings have moved since.

Add a line to a table for each class, setting or tensor that moves. Up-to-date configurations are returned unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from src.utils.errors import Problems

TARGETS = {
    "src.schedule.warmup_cosine": "src.pipeline.schedule.warmup_cosine",
}
"""Import path of a class or function → where it is now."""

RENAMED: dict[str, dict[str, str]] = {}
"""Class (its import path today) → old name of a setting → its name today."""

REMOVED: dict[str, dict[str, Any]] = {}
"""Class → setting that it no longer has → the only value with which it behaved as it does today."""

IMPLIED: dict[str, dict[str, Any]] = {
    "src.models.sofs.MaskStep": {"gradient": "pixel", "residual": True},
    "src.models.robe.ROBE": {"network": "pixel", "widths": [16, 32, 48]},
}
"""Class → setting that older files do not have → the value that they imply."""

TENSORS: dict[str, dict[str, str]] = {}
"""Class of a network → old prefix of tensor names (``net.…``) → their prefix today."""

RUN = "src.models.run.RUN"
RUN_DEFAULTS: dict[str, Any] = {
    "channels": 64,
    "num_stages": 4,
    "levels": "coarse_to_fine",
    "unfold_stride": 1,
    "share_stages": "unfolding",
    "residual": True,
    "mask_step": True,
    "background_evidence": True,
    "robe": True,
    "state_space": True,
    "edge_head": True,
    "coupling": True,
    "branches": "both",
    "phi": True,
    "context": True,
    "robe_image": True,
    "mask_residual": False,
    "closing_step": False,
    "mu": 0.01,
    "lam": 0.01,
    "alpha": 0.01,
    "gamma": 0.0,
    "residual_scale": 0.1,
    "lipschitz": 1.0,
    "residual_depth": 3,
    "residual_width": 16,
    "uncertain_band": "zero",
    "softness": 0.0,
    "gradient_checkpointing": False,
}
"""RUN's settings before it was composed of parts, with the values that a configuration without them implies."""

MASK_STEP = (
    *("mu", "residual", "alpha", "residual_scale", "lipschitz"),
    *("residual_depth", "residual_width", "uncertain_band", "softness"),
)
RUN_PARTS: dict[str, tuple[str, dict[str, str]]] = {
    "mask_step": (
        "src.models.sofs.MaskStep",
        {name: name for name in MASK_STEP},
    ),
    "state_space": (
        "src.models.sofs.ReversibleStateSpace",
        {"state_space": "scan", "edge_head": "edge_head", "branches": "branches", "phi": "phi", "gamma": "gamma"},
    ),
    "robe": ("src.models.robe.ROBE", {"lam": "lam", "robe_image": "reads_image"}),
}
"""Part of RUN → its class, and the former settings of RUN that it has now → their names in the part."""


def upgrade_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a stored configuration; one of this version is returned unchanged.

    Raises:
        UserError: settings that no longer exist and were not at their default, each named with its value.
    """
    problems = Problems()
    upgraded: dict[str, Any] = _upgraded(config, "", config.get("format", 1), problems)
    problems.raise_all("settings of an older version that no longer exist:")
    return upgraded


def upgrade_state(state: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the names of a stored state dict; one of this version is returned unchanged.

    Args:
        state: name → tensor, as the file has them.
        config: of the same file, before or after :func:`upgrade_config`.
    """
    target = config["model"].get("net", {}).get("_target_", "")
    renamed = TENSORS.get(TARGETS.get(target, target), {})
    names = {
        name: next((new + name[len(old) :] for old, new in renamed.items() if name.startswith(old)), name)
        for name in state
    }
    return {names[name]: value for name, value in state.items()}


def _upgraded(node: Any, path: str, written: int, problems: list[str]) -> Any:
    if isinstance(node, list):
        return [_upgraded(element, f"{path}{i}.", written, problems) for i, element in enumerate(node)]
    if not isinstance(node, Mapping):
        return node
    node = {name: _upgraded(value, f"{path}{name}.", written, problems) for name, value in node.items()}
    return _upgraded_class(node, path, written, problems) if "_target_" in node else node


def _upgraded_class(node: dict[str, Any], path: str, written: int, problems: list[str]) -> dict[str, Any]:
    """Translate the settings of one class, in their order."""
    target = TARGETS.get(node["_target_"], node["_target_"])
    removed, renamed = REMOVED.get(target, {}), RENAMED.get(target, {})
    problems += [
        f"{path}{name}={node[name]} (only {value} is left)"
        for name, value in removed.items()
        if node.get(name, value) != value
    ]
    kept = {renamed.get(name, name): value for name, value in node.items() if name not in removed}
    upgraded = IMPLIED.get(target, {}) | kept | {"_target_": target}
    is_composed = written >= 2 or isinstance(node.get("state_space"), Mapping)
    return _composed(upgraded) if target == RUN and not is_composed else upgraded


def _composed(node: Mapping[str, Any]) -> dict[str, Any]:
    """Move RUN's former settings into the parts that they belong to now."""
    old = RUN_DEFAULTS | dict(node)
    if not old.pop("mask_residual"):
        old["gamma"] = None
    is_on = {"mask_step": old.pop("mask_step"), "state_space": True, "robe": old.pop("robe")}
    parts = {
        part: {"_target_": target, "_partial_": True, **IMPLIED.get(target, {})}
        | {new: old.pop(name) for name, new in names.items()}
        for part, (target, names) in RUN_PARTS.items()
    }
    return old | {part: settings if is_on[part] else None for part, settings in parts.items()}
