"""A run folder that cannot be made is one clear line: Hydra makes it before any code of ours runs, and ends in a traceback."""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class Before(NamedTuple):
    """A run folder before a command: was it there, what lay in it (name → ns of the last change), what Hydra had noted in ``notes``."""

    folder: Path
    existed: bool
    content: dict[str, int]
    notes: Path
    noted: dict[str, bytes]


_before: list[Before] = []


class CheckOutputFolder(Callback):
    """Makes ``paths.output_dir``, writes a file into it and removes that; where this fails the process ends with status 2."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note what the folder contains, then check that it can be written."""
        folder, subdir = Path(config.hydra.run.dir), config.hydra.get("output_subdir")
        if subdir is not None:
            notes = folder / subdir
            noted = {path.name: path.read_bytes() for path in notes.glob("*.yaml")}
            _before[:] = [Before(folder, folder.exists(), _content(folder, notes), notes, noted)]
        _check(config.hydra.run.dir)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Check that the folder of the multirun can be written."""
        _check(config.hydra.sweep.dir)


def forget_command() -> None:
    """After a user error, undo what Hydra wrote: delete `.hydra` if nothing else was produced, and restore that of an earlier run."""
    for folder, existed, content, notes, noted in _before:
        if not notes.is_dir() or _content(folder, notes) != content:
            continue
        with suppress(OSError):
            if not noted:
                shutil.rmtree(notes)
            for name, text in noted.items():
                (notes / name).write_bytes(text)
            if not existed:
                folder.rmdir()
    _before.clear()


def _content(folder: Path, notes: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*") if path != notes} if folder.is_dir() else {}


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
