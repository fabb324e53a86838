"""Weights & Biases: offline by default, one W&B run per training however often it is resumed, sweeps as groups."""

from __future__ import annotations

import csv
import os
import secrets
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from src.loggers.tracker import Tracker, sweep_and_name
from src.utils.errors import UserError
from src.utils.private import name_artifact, without_anonymous

ID_FILE = "run_id.txt"


class Wandb(WandbLogger, Tracker):
    """Logs configuration, curves, pictures and the tables of the test; on request the checkpoints too.

    The run's id is in ``<save_dir>/wandb/run_id.txt``: a resumed training resumes the same run.

    Args:
        save_dir: folder of the run.
        project: name of the W&B project.
        offline: everything stays in ``<save_dir>/wandb`` (`wandb sync` sends it later).
        checkpoints: upload ``best.ckpt`` and ``last.ckpt`` as artifacts when the training is complete.
        options: further arguments of `wandb.init`: ``entity``, ``tags``, ``notes``, ``name``, ``group`` …
    """

    def __init__(self, save_dir: str, project: str, offline: bool, checkpoints: bool, **options: Any) -> None:
        group, name = sweep_and_name(Path(save_dir))
        self._id_file = Path(save_dir) / "wandb" / ID_FILE
        run_id = self._id_file.read_text().strip() if self._id_file.is_file() else _new_id()
        chosen: dict[str, Any] = (
            _unless_in_environment({"group": group, "name": name, "mode": _mode(offline)}) | options
        )
        # Lightning's own `offline` would stay in the environment. It also refuses artifacts, which `wandb sync` does
        # send later.
        super().__init__(save_dir=save_dir, project=project, id=run_id, log_model=checkpoints, **chosen)
        without_anonymous(self)
        self._run: Any = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the W&B run, started on first use.

        Raises:
            UserError: an online run cannot start.
        """
        if self._run is None:
            self._id_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._run = super().experiment
            except wandb.Error as error:
                way = "`wandb login` first, or take logger.wandb.offline=true and `wandb sync` the folder later"
                raise UserError(f"logger.wandb: W&B cannot start ({str(error).splitlines()[0]}); {way}") from error
            if not self._run.disabled:
                self._id_file.write_text(self._run.id + "\n")
        return self._run

    @rank_zero_only
    def log_picture(self, name: str, path: Path, step: int) -> None:
        """Log a picture file under a name."""
        self.log_image(name, [str(path)], step)

    @rank_zero_only
    def log_report(self, folder: Path, scores: dict[str, float]) -> None:
        """Log the test's scores, its tables, galleries and curves."""
        found: dict[str, Any] = {name: value for name, value in scores.items() if name.startswith("test/")}
        found |= {
            f"test/{path.stem}": _table(path)
            for path in (folder / "metrics.csv", folder / "per_image.csv")
            if path.is_file()
        }
        for kind in ("gallery", "curves"):
            found |= {f"test/{path.stem}": wandb.Image(str(path)) for path in sorted(folder.glob(f"{kind}_*.png"))}
        self.experiment.log(found)

    def close(self, failed: bool) -> None:
        """Mark the run as failed (until it is resumed) or as finished; the next job of a sweep has its own run."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))

    def _scan_and_log_checkpoints(self, checkpoint_callback: ModelCheckpoint) -> None:
        """Upload each callback's checkpoint (`best`, `last` …) as its own artifact: one name would mix the versions."""
        name_artifact(self, f"{self.version}-{checkpoint_callback.filename}")
        super()._scan_and_log_checkpoints(checkpoint_callback)


def _new_id() -> str:
    """Return the id that `wandb agent` has given this run; else a new one."""
    return os.environ.get("WANDB_RUN_ID") or secrets.token_hex(4)


def _mode(offline: bool) -> str:
    """Return `WANDB_MODE` if it is set; else ``online`` for a run of `wandb agent`, whose sweep needs its results."""
    return os.environ.get("WANDB_MODE") or ("offline" if offline and "WANDB_SWEEP_ID" not in os.environ else "online")


def _unless_in_environment(chosen: dict[str, Any]) -> dict[str, Any]:
    """Return the options without those that W&B's own variables set: an option would overrule its variable."""
    variables = {"group": "WANDB_RUN_GROUP", "name": "WANDB_NAME"}
    return {key: value for key, value in chosen.items() if not os.environ.get(variables.get(key, ""))}


def _table(path: Path) -> wandb.Table:
    """Return a CSV file as a table, its numbers as floats and its empty cells as None."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return wandb.Table(columns=list(header), data=[[_number(cell) for cell in row] for row in rows])


def _number(cell: str) -> float | str | None:
    try:
        return float(cell) if cell else None
    except ValueError:
        return cell
