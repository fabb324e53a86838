"""What a logger may do beside numbers, and who a run is: its name and its sweep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import OmegaConf


class Tracker(ABC):
    """A logger that takes pictures and the report of the test as well."""

    @abstractmethod
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """A PNG of step ``step`` under ``name``."""

    @abstractmethod
    def log_report(self, folder: Path, scores: dict[str, float]) -> None:
        """What the test left in ``folder`` (``metrics.csv``, ``per_image.csv``, galleries and curves) and its means."""

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the run, as failed or as finished; a resumed training opens it again."""


@contextmanager
def closing(loggers: Sequence[object]) -> Iterator[None]:
    """Close the trackers among `loggers` at the end of the block, as failed where an exception (a signal, too) ends it."""
    trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
    try:
        yield
    except BaseException:
        for tracker in trackers:
            tracker.close(failed=True)
        raise
    for tracker in trackers:
        tracker.close(failed=False)


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
    common = {
        f"{one.get_key_element()}={one.get_value_element_as_str()}" for one in typed if not one.is_sweep_override()
    }
    return sweep.name, job_name([word for word in hydra.overrides.task if word not in common]) or folder.name


def job_name(overrides: Sequence[str]) -> str:
    """Return overrides without the path of their keys; for an ablation only its name.

    >>> job_name(["ablation=no_robe", "model.optimizer.lr=0.001", "seed=1"])
    'no_robe, lr=0.001, seed=1'
    """
    pairs = (word.lstrip("+~").partition("=") for word in overrides)
    return ", ".join(short_override(key, value) for key, _, value in pairs)


def short_override(key: str, value: str) -> str:
    """The last part of the key with its value."""
    return value if key == "ablation" else f"{key.rsplit('.', 1)[-1]}={value}"
