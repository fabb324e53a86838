"""A run folder that cannot be made is one clear line: Hydra makes it before any code of ours runs, and ends in a traceback."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class CheckOutputFolder(Callback):
    """Makes ``paths.output_dir``, writes a file into it and removes that; where this fails the process ends with status 2."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        _check(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        _check(config.hydra.sweep.dir)


def _check(place: str) -> None:
    if not place:  # a shell variable that is not set: checkpoints would go to /checkpoints
        print("error: paths.output_dir is empty; name a folder, or leave it out", file=sys.stderr)
        sys.exit(2)
    folder = Path(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except OSError as error:
        print(f"error: paths.output_dir: {folder} cannot be written: {error.strerror}; choose another paths.output_dir", file=sys.stderr)
        sys.exit(2)
