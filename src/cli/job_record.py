"""Each job of a multirun keeps a record, `job.json`: it is waiting, running, stopped, failed or finished."""

from __future__ import annotations

import json
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from textwrap import shorten
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from src.cli.command_line import override
from src.cli.run_folder import held, holds_training
from src.utils.errors import UserError
from src.utils.launch import global_rank
from src.utils.process import is_alive

FILE = "job.json"


class FailedJobs(Callback):
    """Hydra callback (`conf/hydra/default.yaml`) that lists the failed jobs at the end of a multirun.

    The process then ends with status 2 if all are user errors, else 1. The jobs' records are read, not their return
    values, so that it makes no difference which launcher ran them, or where.
    """

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """List the failed jobs of this multirun and end the process with their status."""
        folder = Path(config.hydra.sweep.dir)
        start = folder / "multirun.yaml"  # older records are of an earlier multirun in this folder
        began = start.stat().st_mtime_ns if start.exists() else 0
        notes = {
            path.parent: read_record(path.parent) for path in folder.rglob(FILE) if path.stat().st_mtime_ns >= began
        }
        failed = {
            path.relative_to(folder): note for path, note in sorted(notes.items()) if note.get("state") == "failed"
        }
        if failed:
            print(f"error: {len(failed)} of the {len(notes)} jobs failed:", file=sys.stderr)
            for path, note in failed.items():
                print(f"  - {path}: {note['error']}", file=sys.stderr)
            sys.exit(2 if all(note["mistake"] for note in failed.values()) else 1)


@contextmanager
def recorded() -> Iterator[JobNote]:
    """Context manager: record how the multirun's job in the block ends; outside of multiruns write nothing.

    The job's folder is held meanwhile. Code in the block that reports an error instead of raising it calls `failed` of
    the record. The record of a finished job is left as it is: check ``is_done`` first.

    Yields:
        The job's record.

    Raises:
        UserError: another process runs in the job's folder, or the folder is that of another job.
    """
    folder = _job_folder()
    with held(folder) if folder is not None else nullcontext():
        note = JobNote(folder, _overrides() if folder is not None else [])
        if note.is_done:
            yield note
            return
        note.write({"state": "running", "host": socket.gethostname(), "pid": os.getpid(), "again": note.is_again})
        try:
            yield note
        except BaseException:
            note.write({"state": "stopped"})
            if folder is not None:
                place = override("paths.output_dir", HydraConfig.get().sweep.dir)
                print(f"the whole multirun resumes by its own command with {place}", file=sys.stderr)
            raise
        if not note.has_failed:
            note.write({"state": "finished"})


class JobNote:
    """Reads and writes `job.json` in ``folder`` (None: nowhere).

    Attributes:
        is_done: this very job finished here before.
        is_again: this very job began here before.

    Raises:
        UserError: the folder holds the results or checkpoints of a job with other overrides, and it does
            not resume by ``ckpt_path=last``.
    """

    def __init__(self, folder: Path | None, overrides: Sequence[str] = ()) -> None:
        self.folder, self.overrides, self.has_failed = folder, list(overrides), False
        before = read_record(folder) if folder is not None else {}
        self.is_again = before.get("overrides") == _own(self.overrides)
        finished = before.get("state") == "finished"
        self.is_done = self.is_again and finished
        is_another = "overrides" in before and not self.is_again and self.overrides == _own(self.overrides)
        if folder is not None and is_another and (finished or holds_training(folder)):
            differing = sorted({*before["overrides"]} ^ {*self.overrides})
            raise UserError(
                f"{folder} holds another job (these differ: {', '.join(differing)}); name another paths.output_dir"
            )

    def failed(self, error: BaseException, text: str, mistake: bool) -> None:
        """Record an error.

        Args:
            error: its whole traceback is stored.
            text: the error in one line.
            mistake: whether the user can fix it.
        """
        self.has_failed = True
        trace = "".join(traceback.format_exception(error))
        self.write(
            {"state": "failed", "error": shorten(text, 300, placeholder=" …"), "mistake": mistake, "traceback": trace}
        )

    def write(self, record: dict[str, Any]) -> None:
        """Write the record whole or not at all: `src.report.sweep.summary` reads it while jobs run."""
        if self.folder is not None:
            _write(self.folder, record | {"overrides": _own(self.overrides)})


def read_record(folder: Path) -> dict[str, Any]:
    """Return a job's record, empty if it is missing or incomplete; a job whose process is gone is ``stopped``."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if (
        record.get("state") == "running"
        and record.get("host") == socket.gethostname()
        and not is_alive(int(record.get("pid", -1)))
    ):
        record["state"] = "stopped"
    return record


def note_waiting(folder: Path, overrides: Sequence[str]) -> bool:
    """Note that a job was handed to a cluster, if it has no record yet; returns whether it was noted."""
    if (folder / FILE).exists():
        return False
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder, {"state": "waiting", "why": "submitted, not started", "overrides": _typed(overrides)})
    return True


def forget_waiting(folder: Path) -> None:
    """Undo `note_waiting` of a job that the cluster did not take."""
    (folder / FILE).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def amend_record(folder: Path, **changes: Any) -> None:
    """Change what a job's record says."""
    _write(folder, read_record(folder) | changes)


def _write(folder: Path, record: dict[str, Any]) -> None:
    temporary = folder / f".{FILE}"
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    temporary.replace(folder / FILE)


def _job_folder() -> Path | None:
    """Return the job's folder.

    None on all ranks but the first, and for commands whose jobs have no folder of their own (`python -m src.profile
    -m`).
    """
    if (
        not HydraConfig.initialized()
        or HydraConfig.get().mode != RunMode.MULTIRUN
        or HydraConfig.get().output_subdir is None
    ):
        return None
    return Path(HydraConfig.get().runtime.output_dir) if global_rank() == 0 else None


def _overrides() -> list[str]:
    """Return the overrides of this job, without its folder."""
    return _typed(HydraConfig.get().overrides.task)


def _typed(words: Sequence[str]) -> list[str]:
    return [word for word in words if not word.lstrip("+~").startswith(("paths.output_dir=", "hydra.", "hydra/"))]


def _own(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that identify the job: all but ``ckpt_path=last``, by which it resumes."""
    return [word for word in overrides if word.lstrip("+") != "ckpt_path=last"]
