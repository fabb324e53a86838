"""Rank and launcher (torchrun, srun or `src.distributed.ranks`) of the current process."""

from __future__ import annotations

import os
import signal
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from src.utils.errors import UserError


class Launch(NamedTuple):
    """Processes that a launcher has started.

    Attributes:
        by: ``torchrun`` or ``srun``.
        processes: their number.
        here: their number on this machine.
    """

    by: str
    processes: int
    here: int


def launched() -> Launch | None:
    """Return the processes that torchrun or srun started together with this one; None if neither did.

    A SLURM allocation without srun, and a step with a single task, also give None: this process may start others.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        return Launch("torchrun", int(env["WORLD_SIZE"]), int(env["LOCAL_WORLD_SIZE"]))
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1:
        return Launch("srun", tasks, min(tasks, int(env.get("SLURM_NTASKS_PER_NODE", tasks))))  # of the allocation
    return None


def global_rank() -> int:
    """Return the rank of this process among all processes of the training; 0 if it is alone."""
    launch = launched()
    return int(
        os.environ.get({"torchrun": "RANK", "srun": "SLURM_PROCID"}.get(launch.by if launch else "", "LOCAL_RANK"), 0)
    )


def restarted() -> bool:
    """Return whether SLURM started this job before and requeued it."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


def submitit_notice() -> signal.Signals | None:
    """Return the signal by which submitit announces the end of this job; None in processes that are not its jobs."""
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    return signal.Signals[f"SIG{os.environ.get('SUBMITIT_PREEMPT_SIGNAL', 'USR2')}"]


def is_on_first_machine() -> bool:
    """Return whether rank 0 runs on this machine too: it then sees the same files and devices."""
    return int(os.environ.get("GROUP_RANK" if "TORCHELASTIC_RUN_ID" in os.environ else "SLURM_NODEID", 0)) == 0


START_NAME = "start_name"
"""Name of the resolver, ``${start_name:}``."""


def start_name() -> str:
    """Return the default name of a run, the same in all its processes and after a requeue.

    It is the time of the start; under srun it is ``slurm_JOB_STEP``. If the first process has to take another name
    (`src.cli.output_folder`), the other processes of torchrun wait for it.

    Raises:
        UserError: this torchrun offers no store in which its processes could agree on a name.
    """
    now = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    launch = launched()
    if launch is None or launch.processes == 1:
        return now
    if launch.by == "srun":
        return f"slurm_{os.environ['SLURM_JOB_ID']}_{os.environ.get('SLURM_STEP_ID', 0)}"
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        raise UserError("paths.output_dir: name it, as this torchrun gives its processes no way to agree on one")
    return now if global_rank() == 0 else _store().get(_store_key()).decode()


def has_time_for_name() -> bool:
    """Return whether the default name of a run is the time of its start.

    Otherwise it is that of the SLURM job, which stays the same when the job is requeued.
    """
    launch = launched()
    return launch is None or launch.processes == 1 or launch.by != "srun"


def share_start_name(name: str) -> None:
    """Tell the other processes of torchrun the name that the first one has taken."""
    launch = launched()
    if launch is not None and launch.processes > 1 and launch.by == "torchrun":
        _store().set(_store_key(), name)


def _store() -> Any:
    from torch.distributed import TCPStore

    return TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False, timeout=timedelta(minutes=5)
    )


def _store_key() -> str:
    return f"src.utils.launch/{START_NAME}/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"


# Cached, as a multirun composes a configuration for each job.
OmegaConf.register_new_resolver(START_NAME, start_name, use_cache=True, replace=True)
