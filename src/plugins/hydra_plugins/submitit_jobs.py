"""Jobs of a multirun on a cluster: the launchers behind ``hydra/launcher=submitit_slurm`` and ``submitit_local``.

They are submitit's (hydra-submitit-launcher, the extra `cluster`), with three additions: a job that waits has a record
in its folder; one whose time is up resumes as often as ``max_num_timeout`` allows and then says so; a refusal of the
cluster is reported in one line. Hydra only finds launchers in the namespace package `hydra_plugins`, and every command
imports it: heavy imports come late.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src.cli.command_line import shell_line
from src.cli.job_record import amend_record, forget_waiting, note_waiting
from src.cli.run_folder import holds_training
from src.utils.errors import UserError
from src.utils.launch import submitit_notice

try:
    from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
    from hydra_plugins.hydra_submitit_launcher.submitit_launcher import (
        BaseSubmititLauncher,
        LocalLauncher,
        SlurmLauncher,
    )
except ImportError:  # without the extra `cluster`
    BaseSubmititLauncher = None

ROOT = Path(__file__).parents[3]
RESUMES = 20
"""Default of ``hydra.launcher.max_num_timeout``: how often a job may reach its time limit and resume."""

if BaseSubmititLauncher is not None:

    class RecordedJobs(BaseSubmititLauncher):
        """What both launchers add to submitit's."""

        def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
            """Submit the jobs and wait until they have ended.

            Raises:
                UserError: the cluster refuses them, or a job has ended without a result.
            """
            folders = {
                folder: words
                for number, words in enumerate(job_overrides, initial_job_idx)
                if (folder := self._folder(number))
            }
            waiting = [folder for folder, words in folders.items() if note_waiting(folder, words)]
            paths = [str(ROOT), str(ROOT / "src" / "plugins"), os.environ.get("PYTHONPATH")]
            os.environ["PYTHONPATH"] = os.pathsep.join(
                filter(None, paths)
            )  # where a job finds this class, before it runs any code of ours
            try:
                returns: Sequence[JobReturn] = super().launch(job_overrides, initial_job_idx)
            except RuntimeError as error:  # all of submitit's are
                said = " ".join(line.strip() for line in str(error).strip().splitlines()[:2]) or type(error).__name__
                if said.startswith("Job "):
                    table = shell_line("src.report.sweep", str(self.config.hydra.sweep.dir))
                    raise UserError(f"{said}; the other jobs are left to the cluster, and listed by {table}") from error
                for folder in waiting:
                    forget_waiting(folder)
                raise UserError(f"the jobs were not submitted: {said}") from error
            return returns

        def __call__(
            self,
            sweep_overrides: list[str],
            job_dir_key: str,
            job_num: int,
            job_id: str,
            singleton_state: dict[type, Any],
        ) -> JobReturn:
            """Run one job; if its time is up, hand it over to submitit, which starts it again or says why not."""
            try:
                done: JobReturn = super().__call__(sweep_overrides, job_dir_key, job_num, job_id, singleton_state)
            except SystemExit as end:
                if (notice := submitit_notice()) is None or getattr(end, "signal", None) != notice:
                    raise
                handler: Any = signal.getsignal(notice)  # submitit's own, which the training has restored
                return self._start_again(self._folder(job_num), functools.partial(handler, notice, None))
            return done

        def _start_again(self, folder: Path | None, requeue: Callable[[], Any]) -> JobReturn:
            """Call submitit's ``requeue``, which ends this process, or raises if no further start is allowed."""
            limit = f"its time is up (hydra.launcher.timeout_min={self.params['timeout_min']})"
            if folder is not None:
                amend_record(folder, state="stopped", why=f"{limit}; the cluster starts it again")
            try:
                requeue()
            except RuntimeError:
                saved = folder is None or holds_training(folder)
                way_out = "the same multirun resumes it" if saved else "nothing was saved, it needs more time"
                text = f"{limit}, and hydra.launcher.max_num_timeout allows no further start; {way_out}"
                print(f"error: {text}", file=sys.stderr)
                if folder is not None:
                    amend_record(folder, state="failed", error=text, mistake=True, why="")
            return JobReturn(status=JobStatus.COMPLETED)

        def _folder(self, number: int) -> Path | None:
            """Return a job's folder; None if the jobs are not numbered as in `conf/hydra/default.yaml`."""
            sweep = OmegaConf.to_container(self.config.hydra.sweep, resolve=False)
            named = sweep["subdir"] == "${hydra:job.num}" if isinstance(sweep, dict) else False
            return Path(self.config.hydra.sweep.dir) / str(number) if named else None

    class SlurmJobs(RecordedJobs, SlurmLauncher):
        """Jobs of SLURM."""

    class LocalJobs(RecordedJobs, LocalLauncher):
        """Jobs of this machine."""

    RECORDED = {
        "submitit_slurm": SlurmQueueConf(_target_=f"{__name__}.SlurmJobs", max_num_timeout=RESUMES),
        "submitit_local": LocalQueueConf(_target_=f"{__name__}.LocalJobs"),
    }
    for name, settings in RECORDED.items():  # replace those that their import has stored
        ConfigStore.instance().store(group="hydra/launcher", name=name, node=settings, provider="submitit_jobs")
