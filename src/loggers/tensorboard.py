"""TensorBoard: curves, pictures and the table of the test in `tensorboard/` of the run's folder."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from PIL import Image

from src.loggers.tracker import Tracker
from src.utils.errors import UserError


class TensorBoard(TensorBoardLogger, Tracker):
    """TensorBoard log. ``tensorboard --logdir outputs`` names runs by folder; resumed runs continue their curves."""

    def __init__(self, save_dir: str) -> None:
        if find_spec("tensorboard") is None:
            raise UserError("logger=tensorboard needs the package tensorboard: pip install -e '.[tensorboard]'")
        super().__init__(save_dir, name="tensorboard", version="")

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the configuration as text: 'hparams' would make one column for each of its hundred keys."""
        self.experiment.add_text("config", "\n".join(f"    {line}" for line in _lines(params)))

    @rank_zero_only
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture file under a name."""
        with Image.open(path) as picture:
            self.experiment.add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    @rank_zero_only
    def log_report(self, folder: Path, scores: dict[str, float]) -> None:
        """Log the test's scores, its table, galleries and curves."""
        for name, value in scores.items():
            if name.startswith("test/"):
                self.experiment.add_scalar(name, value)
        self.experiment.add_text("test", (folder / "metrics.md").read_text(encoding="utf-8"))
        for path in sorted([*folder.glob("gallery_*.png"), *folder.glob("curves_*.png")]):
            self.log_picture(f"test/{path.stem}", path, 0)
        self.experiment.flush()

    def close(self, failed: bool) -> None:
        """Do nothing: in TensorBoard a run has no state, and Lightning closes the files."""


def _lines(params: dict[str, Any]) -> list[str]:
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(params)).splitlines()
