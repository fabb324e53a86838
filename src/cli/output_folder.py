"""Report in one line that a run folder cannot be made.

Hydra makes the folder before any code of ours runs, and would end in a traceback.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from src.cli.run_folder import LOCK, hold, release
from src.utils.errors import UserError
from src.utils.launch import START_NAME, has_time_for_name, share_start_name


class Before(NamedTuple):
    """A run folder as it was before a command.

    Attributes:
        folder: the folder.
        existed: whether it existed.
        locked: whether it had a lock file.
        content: name → time of the last change in ns, without the lock and Hydra's files.
        notes: the folder of Hydra's files, ``.hydra``.
        noted: name → content of the files that Hydra had written for an earlier command.
    """

    folder: Path
    existed: bool
    locked: bool
    content: dict[str, int]
    notes: Path
    noted: dict[str, bytes]


_before: list[Before] = []


class CheckOutputFolder(Callback):
    """Hydra callback that makes ``paths.output_dir`` and holds it for this process (`src.cli.run_folder`).

    If this fails, the process ends with status 2. A folder that nobody named is always a new one: of two processes that
    start in the same second, one takes the next free name.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Note what the folder contains, then make and hold it."""
        new = _claim(config)
        folder, subdir = Path(config.hydra.run.dir), config.hydra.get("output_subdir")
        notes = folder / (subdir or "")
        noted = {path.name: path.read_bytes() for path in notes.glob("*.yaml")} if subdir is not None else {}
        before = Before(
            folder, folder.exists() and not new, (folder / LOCK).exists(), _content(folder, notes), notes, noted
        )
        _check(config.hydra.run.dir)
        if subdir is not None:
            _before[:] = [before]

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Make and hold the folder of the multirun; each job holds its own below it."""
        _claim(config)
        _check(config.hydra.sweep.dir)


def forget_command() -> None:
    """Undo what Hydra wrote, after a user error.

    If the command produced nothing else, delete `.hydra`, or restore that of an earlier run, and remove a folder and a
    lock that are new.
    """
    for folder, existed, locked, content, notes, noted in _before:
        with suppress(OSError):
            if not notes.is_dir() or _content(folder, notes) != content:
                continue
            if not noted:
                shutil.rmtree(notes)
            for name, text in noted.items():
                (notes / name).write_bytes(text)
            if not locked:
                release(folder, remove=True)
            if not existed:
                folder.rmdir()
    _before.clear()


def _content(folder: Path, notes: Path) -> dict[str, int]:
    found = (path for path in folder.glob("*") if path != notes and path.name != LOCK) if folder.is_dir() else ()
    return {path.name: path.stat().st_mtime_ns for path in found}


def _claim(config: DictConfig) -> bool:
    """If nobody named the run's folder, make one that is new; return whether nobody did."""
    paths: Any = OmegaConf.to_container(config.get("paths") or OmegaConf.create(), resolve=False)
    written = str(paths.get("output_dir"))
    if f"${{{START_NAME}:" not in written or not has_time_for_name():
        return False
    folder, number = Path(config.paths.output_dir), 1
    # A name in this cache applies to all configurations of the command and of its jobs.
    names = OmegaConf.get_cache(config)[START_NAME]
    key, first = next(iter(names.items()))
    with suppress(OSError):  # `_check` reports it
        while not _made(folder):
            number += 1
            names[key] = f"{first}_{number}"
            folder = Path(config.paths.output_dir)
    share_start_name(names[key])
    return True


def _made(folder: Path) -> bool:
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def _check(place: str) -> None:
    if not place:  # e.g. an unset shell variable: checkpoints would go to /checkpoints
        print("error: paths.output_dir is empty; name a folder, or leave it out", file=sys.stderr)
        sys.exit(2)
    folder = Path(place)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
        hold(folder)
    except UserError as error:
        print(f"error: paths.output_dir: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(
            f"error: paths.output_dir: {folder} cannot be written: {error.strerror}; choose another paths.output_dir",
            file=sys.stderr,
        )
        sys.exit(2)
