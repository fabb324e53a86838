"""What a logger may do beside numbers, and who a run is: its name, its sweep and the revision of the code that it ran."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]


class Tracker(ABC):
    """A logger that takes pictures and the report of the test as well."""

    @abstractmethod
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """A PNG of step ``step`` under ``name``."""

    @abstractmethod
    def log_report(self, folder: Path, scores: dict[str, float]) -> None:
        """What the test left in ``folder`` (``metrics.csv``, ``per_image.csv``, galleries and curves) and its means."""


def git_revision(root: Path = ROOT) -> dict[str, Any]:
    """``revision`` of the checkout and whether tracked files were changed since (``dirty``); None for both without git."""
    try:
        revision = _git(root, "rev-parse", "HEAD").strip()
        return {"revision": revision, "dirty": bool(_git(root, "status", "--porcelain", "--untracked-files=no").strip())}
    except (OSError, subprocess.SubprocessError):
        return {"revision": None, "dirty": None}


def sweep_and_name(folder: Path) -> tuple[str | None, str]:
    """The multirun that the run belongs to (its folder's name; None outside of one), and a name for the run.

    In a multirun the name is what varies between its jobs, else experiment and folder.
    """
    if not HydraConfig.initialized():
        return None, folder.name
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        experiment = hydra.runtime.choices.get("experiment")
        return None, f"{experiment} {folder.name}" if experiment else folder.name
    sweep = Path(hydra.sweep.dir)
    typed = OverridesParser.create().parse_overrides(list(OmegaConf.load(sweep / "multirun.yaml").hydra.overrides.task))
    common = {f"{one.get_key_element()}={one.get_value_element_as_str()}" for one in typed if not one.is_sweep_override()}
    return sweep.name, job_name([word for word in hydra.overrides.task if word not in common]) or folder.name


def job_name(overrides: Sequence[str]) -> str:
    """Overrides without the way to their keys; an ablation by its name alone.

    >>> job_name(["ablation=no_robe", "model.optimizer.lr=0.001", "seed=1"])
    'no_robe, lr=0.001, seed=1'
    """
    pairs = (word.lstrip("+~").partition("=") for word in overrides)
    return ", ".join(short_override(key, value) for key, _, value in pairs)


def short_override(key: str, value: str) -> str:
    """The last part of the key with its value."""
    return value if key == "ablation" else f"{key.rsplit('.', 1)[-1]}={value}"


def _git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20).stdout
