"""Write checkpoints whole or not at all: a write that fails leaves the previous file intact."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import EACCES, EDQUOT, EFBIG, ENOSPC, EPERM, EROFS
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from src.module import SELECTS_ON
from src.utils.errors import UserError

LEFTOVERS = ".*.tmp"
SELECTION = "selection"
"""In a checkpoint: what its weights were selected on, in words; empty: on nothing."""
FOLDER_PROBLEMS = {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, flushes to disk (fsync), then renames: a killed write leaves no broken checkpoint."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint. If that fails, raise a UserError and keep the previous file at ``path``."""
        checkpoint[SELECTION], path = selection(checkpoint, str(path)), Path(path)
        memory = io.BytesIO()  # torch's own writer turns a full disk into an error that does not say so
        torch.save(checkpoint, memory)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(temporary, memory.getbuffer())
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise _cannot_write(path, memory.getbuffer().nbytes, error) from error

    def load_checkpoint(self, path: str | Path, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Read a checkpoint; if its run folder was moved or copied, update the paths in the callbacks' states.

        Lightning forgets the best score when the folder's name has changed: a worse epoch would then replace
        `best.ckpt`.
        """
        checkpoint: dict[str, Any] = super().load_checkpoint(path, *arguments, **options)
        folder = os.path.realpath(Path(path).parent)
        for state in checkpoint.get("callbacks", {}).values():
            if isinstance(state, dict) and state.get("best_model_path") and "dirpath" in state:
                _move(state, str(state["dirpath"]), folder)
        return checkpoint


def selection(checkpoint: Mapping[str, Any], path: str) -> str:
    """Return what the weights in a checkpoint were selected on, in words; empty if they were not selected.

    Args:
        checkpoint: with its callbacks' states; a ModelCheckpoint lists a file among its best before it writes it.
        path: where it is to be written.
    """
    states = [
        state for state in checkpoint.get("callbacks", {}).values() if isinstance(state, dict) and state.get("monitor")
    ]
    return (
        str(checkpoint.get(SELECTS_ON, "")) if any(path in state.get("best_k_models", {}) for state in states) else ""
    )


def _move(state: dict[str, Any], before: str, now: str) -> None:
    """Update the paths in a ModelCheckpoint's state, if its files have moved along with the checkpoint."""

    def moved(path: Any) -> Any:
        return str(Path(now) / Path(path).name) if path and str(Path(path).parent) == before else path

    if before == now or not Path(moved(state["best_model_path"])).is_file():
        return
    state["dirpath"] = now
    for key in ("best_model_path", "kth_best_model_path", "last_model_path"):
        state[key] = moved(state.get(key, ""))
    state["best_k_models"] = {moved(name): score for name, score in state.get("best_k_models", {}).items()}


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writes left in ``folder``."""
    for path in folder.glob(LEFTOVERS):
        path.unlink(missing_ok=True)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the error of a full or unwritable disk into a UserError that says how to resume.

    Other errors are raised unchanged.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in FOLDER_PROBLEMS and not isinstance(error, (FileExistsError, NotADirectoryError)):
            raise
        place = error.filename or folder
        raise UserError(f"{place} cannot be written: {error.strerror}; {_way_out(folder)}") from error


def _write(path: Path, content: memoryview) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Flush the folder, so that the rename survives a power cut; some network file systems do not support this."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _cannot_write(path: Path, size: int, error: OSError) -> UserError:
    with suppress(OSError):
        free = shutil.disk_usage(path.parent).free
        return UserError(
            f"{path} cannot be written: {error.strerror} "
            f"({size / 1e6:.0f} MB to write, {free / 1e6:.0f} MB free); {_way_out(path.parent)}"
        )
    return UserError(f"{path} cannot be written: {error.strerror}; {_way_out(path.parent)}")


def _way_out(folder: Path) -> str:
    kept = sorted(folder.rglob("*.ckpt"), key=lambda p: p.stat().st_mtime) if folder.is_dir() else []
    if kept:
        return f"the last good checkpoint is {kept[-1]}: make room, then resume with ckpt_path=last"
    return "make room there or choose another paths.output_dir"
