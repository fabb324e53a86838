"""Start the other processes of a DDP training on this machine, and leave none behind.

Each is `python -m src.distributed.ranks FOLDER PID`, which trains with the resolved configuration of rank 0. Lightning
would run the command line again, and Hydra would then make an output folder, or start a whole multirun, in every
process.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
import torch.distributed as dist
from omegaconf import DictConfig, OmegaConf

from src.cli.command import prepare
from src.cli.first_rank import of_training
from src.distributed.signals import Interrupted
from src.utils.errors import UserError, user_error
from src.utils.launch import global_rank, submitit_notice

ROOT = Path(__file__).parents[2]
TRAIN = "src.train"
"""The module that each process runs; imported by name, as its layer is above this one."""
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS")
GRACE = 20.0
"""Seconds that a process has to end after another one has ended."""


@contextmanager
def other_ranks(trainer: L.Trainer, cfg: DictConfig, ckpt_path: str | None) -> Iterator[None]:
    """Context manager: start the other ranks on entry; on exit stop them and restore the environment.

    Args:
        trainer: its strategy says how many ranks there are.
        cfg: the configuration that the others train with.
        ckpt_path: the file that they resume from, or None.

    Raises:
        UserError: another process found wrong input, of which this one only noticed the end.
    """
    before, threads = {name: os.environ.get(name) for name in VARIABLES}, torch.get_num_threads()
    environment = getattr(trainer.strategy, "cluster_environment", None)
    try:
        if environment is None or trainer.world_size == 1 or environment.creates_processes_externally:
            with of_training():
                yield
        else:
            places = {
                "MASTER_ADDR": environment.main_address,
                "MASTER_PORT": str(environment.main_port),
                "NODE_RANK": "0",
            }
            os.environ.update(places | {"LOCAL_RANK": "0", "WORLD_SIZE": str(trainer.world_size)})
            with (
                tempfile.TemporaryDirectory(prefix="ranks_") as folder,
                _started(trainer.world_size, cfg, ckpt_path, Path(folder)),
            ):
                yield
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        torch.set_num_threads(threads)


@contextmanager
def _started(count: int, cfg: DictConfig, ckpt_path: str | None, folder: Path) -> Iterator[None]:
    OmegaConf.save(OmegaConf.merge(cfg, {"ckpt_path": ckpt_path}), folder / "config.yaml", resolve=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "src.distributed.ranks", str(folder), str(os.getpid())]
    # In sessions of their own: Ctrl-C reaches only rank 0, which informs the others.
    with _ignored(submitit_notice()):  # SLURM sends it to every process of a job: rank 0 answers
        processes = [
            subprocess.Popen(
                command, env=os.environ | {"PYTHONPATH": path, "LOCAL_RANK": str(rank)}, start_new_session=True
            )
            for rank in range(1, count)
        ]
    left = threading.Event()
    threading.Thread(target=_watch, args=(processes, folder, left), daemon=True).start()
    try:
        yield
    except Exception as error:
        left.set()
        _wait(processes, GRACE / 4)
        blame = _mistake(processes, folder)
        _kill(processes)
        if user_error(error) is not None:
            raise
        if blame:
            raise UserError(blame) from error
        print(_told(folder, "error"), file=sys.stderr)
        raise
    finally:
        left.set()
        _wait(processes, GRACE)
        _kill(processes)


@contextmanager
def _ignored(signum: signal.Signals | None) -> Iterator[None]:
    """Context manager: processes that start in it ignore a signal for good. No effect outside the main thread."""
    if signum is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signum, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signum, before)


def _watch(processes: list[subprocess.Popen[bytes]], folder: Path, left: threading.Event) -> None:
    """End this process if another one has failed and this one still waits for it.

    A collective call can't be interrupted in another way.
    """
    while not left.wait(0.5):
        if any(process.poll() not in (None, 0) for process in processes):
            if left.wait(GRACE):
                return
            print(
                f"error: {_mistake(processes, folder) or _told(folder, 'error') or 'another process has ended'}",
                file=sys.stderr,
            )
            _kill(processes)
            os._exit(2)


def _wait(processes: list[subprocess.Popen[bytes]], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def _mistake(processes: list[subprocess.Popen[bytes]], folder: Path) -> str:
    """Return what the user can act on: wrong input, or a process that was killed; empty if it is neither."""
    codes = [process.poll() or 0 for process in processes]
    killed = [f"rank {rank} by {signal.Signals(-code).name}" for rank, code in enumerate(codes, 1) if code < 0]
    way_out = "ckpt_path=last resumes"
    if -signal.SIGKILL in codes:
        way_out = f"where the memory was full a smaller data.batch_size or fewer data.num_workers help; {way_out}"
    return _told(folder, "mistake") or (
        f"processes of this training were killed, {', '.join(killed)}; {way_out}" if killed else ""
    )


def _told(folder: Path, kind: str) -> str:
    return "\n".join(dict.fromkeys(path.read_text(encoding="utf-8") for path in sorted(folder.glob(f"{kind}_*.txt"))))


def _follow(parent: int) -> None:
    """Kill this process when rank 0 is gone: a killed rank 0 cannot stop the others."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Train as one of the other processes; leave a message for rank 0 if something goes wrong."""
    folder, parent = Path(sys.argv[1]), int(sys.argv[2])
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    prepare()
    try:
        importlib.import_module(TRAIN).train(OmegaConf.load(folder / "config.yaml"))
    except Interrupted:
        raise
    except Exception as error:
        mistake = user_error(error)
        kind, text = (
            ("mistake", str(mistake))
            if mistake is not None
            else ("error", f"rank {global_rank()}:\n{traceback.format_exc()}")
        )
        (folder / f"{kind}_{global_rank()}.txt").write_text(text, encoding="utf-8")
        sys.exit(2 if mistake is not None else 1)


if __name__ == "__main__":
    main()
