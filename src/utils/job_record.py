"""Each job of a multirun leaves a note of itself: `job.json`, by which `src.report.sweep` tells running, stopped and failed ones apart."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from src.utils.launch import global_rank

FILE = "job.json"


class JobRecord(Callback):
    """A Hydra callback (`conf/hydra/default.yaml`); does nothing outside multiruns."""

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        _write(config, {"state": "running", "host": socket.gethostname(), "pid": os.getpid()})

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        error = job_return._return_value if job_return.status == JobStatus.FAILED else None
        note = (
            {}
            if error is None
            else {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
        )
        _write(config, {"state": "ended", **note})


def read_record(folder: Path) -> dict[str, Any]:
    """What a job wrote of itself; empty if nothing or nothing whole. A job whose process is gone is ``stopped``."""
    try:
        record = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if record.get("state") == "running" and record.get("host") == socket.gethostname() and not _is_alive(int(record.get("pid", -1))):
        record["state"] = "stopped"
    return record


def _write(config: DictConfig, record: dict[str, Any]) -> None:
    if config.hydra.mode == RunMode.MULTIRUN and global_rank() == 0:
        (Path(config.hydra.runtime.output_dir) / FILE).write_text(json.dumps(record) + "\n", encoding="utf-8")


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return pid > 0
