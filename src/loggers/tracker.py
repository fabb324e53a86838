"""What a logger can take besides numbers; and the name of a run and of its sweep."""

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
    """A logger that also takes pictures and the report of the test."""

    @abstractmethod
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log the PNG file ``path`` of step ``step`` under ``name``."""

    @abstractmethod
    def log_report(self, folder: Path, scores: dict[str, float]) -> None:
        """Log the report of the test.

        Args:
            folder: holds ``metrics.csv``, ``per_image.csv``, galleries and curves.
            scores: the means over the images, by name.
        """

    @abstractmethod
    def close(self, failed: bool) -> None:
        """End the run, as failed or as finished; a resumed training opens it again."""


@contextmanager
def closing(loggers: Sequence[object]) -> Iterator[None]:
    """Close the trackers among `loggers` at the end of the block, as failed if an exception (or a signal) ends it."""
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
    """Return the name of the multirun's folder (None outside of a multirun) and a name for the run.

    In a multirun the run is named by the overrides that differ between its jobs, else by experiment and folder.
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
    """Return the overrides, each key cut to its last part; of an ablation only the name.

    >>> job_name(["ablation=no_robe", "model.optimizer.lr=0.001", "seed=1"])
    'no_robe, lr=0.001, seed=1'
    """
    pairs = (word.lstrip("+~").partition("=") for word in overrides)
    return ", ".join(short_override(key, value) for key, _, value in pairs)


def short_override(key: str, value: str) -> str:
    """Return the last part of the key with its value; of an ablation only the value."""
    return value if key == "ablation" else f"{key.rsplit('.', 1)[-1]}={value}"
