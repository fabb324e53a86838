"""What every command line shares: configuration by Hydra, user errors in one place, one folder per run."""

from __future__ import annotations

import atexit
import errno
import functools
import gc
import io
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from src.cli.as_typed import as_typed
from src.cli.first_rank import must_report, speaker, wait_for_first
from src.cli.job_record import recorded
from src.cli.output_folder import forget_command
from src.cli.override_errors import composition_mistake
from src.cli.renamed import with_new_names
from src.cli.run_folder import holds_training
from src.cli.type_check import check_own_types, check_types
from src.utils.cache_dir import name_nobody
from src.utils.errors import UserError, user_error
from src.utils.failures import explanation
from src.utils.launch import global_rank, launched
from src.utils.memory import keep_freed_memory

CONF = str(Path(__file__).parents[2] / "conf")
sys.path.append(str(Path(__file__).parents[1] / "plugins"))  # Hydra finds sweepers only in a package `hydra_plugins`
NOISE = (
    ".*does not have many workers.*",
    ".*exists and is not empty.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*GPU available but not used.*",
    ".*sync_dist=True.*",  # what is logged without it is the same on every rank, or summed by torchmetrics
    ".*`srun` command is available on your system but is not used.*",
    ".*your dataloader is not resumable.*",  # it is: COSDataModule.state_dict
    ".*Converting a tensor with requires_grad=True to a scalar.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
)

REFUSALS = frozenset(
    [
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR),
        *(errno.ELOOP, errno.EILSEQ, errno.ENOSPC, errno.EIO),
    ]
)
"""System errors that concern the user's files and disks."""

Task = Callable[[DictConfig], Any]


def command(config_name: str, check_files: Task | None = None) -> Callable[[Task], Callable[[], None]]:
    """Turn ``task(cfg)`` into a ``main()`` configured by ``conf/<config_name>.yaml``.

    User errors are printed without a traceback; the exit status is 2. In a multirun ``paths.output_dir`` becomes the
    job's own folder. A job that fails does not stop the others; failed jobs are listed at the end.

    Args:
        config_name: a file in ``conf/``, without its extension.
        check_files: raises a UserError for a file that is missing. It runs before the type check, which imports torch,
            so that such a mistake is reported at once; it must not import anything heavy itself.
    """

    def decorate(task: Task) -> Callable[[], None]:
        failed: list[str] = []
        checked = _checked(task, check_files)

        @functools.wraps(task)
        def run(cfg: DictConfig) -> Any:
            prepare()
            hydra_cfg = HydraConfig.get()
            if hydra_cfg.mode == RunMode.MULTIRUN:
                OmegaConf.update(cfg, "paths.output_dir", hydra_cfg.runtime.output_dir)
                return _run_job(checked, cfg, failed)
            with reported_mistakes(failed):
                return checked(cfg)
            forget_command()
            return sys.exit(2)

        configured = hydra.main(version_base="1.3", config_path=CONF, config_name=config_name)(run)

        def main() -> None:
            with _composition_mistakes_reported():
                sys.argv[1:] = with_new_names(as_typed(sys.argv[1:]))
                if _is_composed_by_hydra():
                    configured()
                else:
                    _compose_and_run(config_name, checked, failed)
            # If jobs keep records, `FailedJobs` has already ended the process: this is for commands without folders.
            if failed:
                print(f"error: {len(failed)} of the jobs failed", file=sys.stderr)
                sys.exit(2)

        return main

    return decorate


def _is_composed_by_hydra() -> bool:
    """Return whether Hydra runs this process, with its folder and callbacks; only rank 0 of a launcher has these."""
    launch = launched()
    if launch is None or launch.processes == 1:
        return True
    if any(word.startswith("-") for word in sys.argv[1:]):
        if global_rank() != 0:
            wait_for_first()
            sys.exit(2)
        print(
            f"error: under {launch.by} only overrides can be given; "
            "a multirun starts its processes itself: python -m … -m …",
            file=sys.stderr,
        )
        sys.exit(2)
    return global_rank() == 0


def _checked(task: Task, check_files: Task | None) -> Task:
    """Return ``task`` preceded by the checks of its configuration; the checks that import nothing come first."""

    def run(cfg: DictConfig) -> Any:
        _check_complete(cfg)
        check_own_types(cfg)
        if check_files is not None:
            check_files(cfg)
        check_types(cfg)
        return task(cfg)

    return run


def _run_job(task: Task, cfg: DictConfig, failed: list[str]) -> Any:
    """Run one job of a multirun; an error is printed and recorded in its folder, so that the other jobs still run.

    If the same multirun is run again in the same folder, finished jobs are skipped and the others are resumed.
    """
    with reported_mistakes(failed), recorded() as note:
        if note.is_done:
            print(f"{note.folder}: finished before, skipped")
            return None
        if note.is_again and cfg.get("train") and cfg.ckpt_path is None and holds_training(cfg.paths.output_dir):
            cfg.ckpt_path = "last"
        try:
            return task(cfg)
        except Exception as error:
            text = _mistake(error)
            failed.append(text or f"{type(error).__name__}: {error}")
            note.failed(error, failed[-1], mistake=text is not None)
            print(f"error: {text}" if text else traceback.format_exc(), file=sys.stderr)
    return None


@contextmanager
def reported_mistakes(failed: list[str]) -> Iterator[None]:
    """Print user errors and add them to ``failed`` instead of raising them; other errors are raised.

    Of the processes that srun or torchrun started, only one prints.
    """
    try:
        yield
    except Exception as error:
        text, reports = _mistake(error), must_report(error)
        if text is None and reports:
            raise
        failed.append(text or type(error).__name__)
        if reports:
            print(f"error{speaker()}: {text}", file=sys.stderr)


def _compose_and_run(config_name: str, task: Task, failed: list[str]) -> None:
    """Do what `hydra.main` does, without its folder, `.hydra` and callbacks: only rank 0 has these."""
    prepare()
    try:
        with initialize_config_dir(CONF, version_base="1.3"):
            cfg = compose(config_name, sys.argv[1:])
    except HydraException:
        wait_for_first()  # rank 0 says why
        sys.exit(2)
    with reported_mistakes(failed):
        try:
            task(cfg)
        except SystemExit as end:
            # Stopped on request, all is saved: rank 0's status counts for all, and srun --kill-on-bad-exit=1 must not
            # end rank 0 before it has closed its logs.
            if isinstance(end.code, int) and end.code > 128:
                sys.exit(0)
            raise
    if failed:
        sys.exit(2)


@contextmanager
def _composition_mistakes_reported() -> Iterator[None]:
    """Report an error of Hydra's composition in one line, with exit status 2.

    By default Hydra prints several lines and exits with 1; HYDRA_FULL_ERROR makes it raise the error instead.
    """
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except Exception as error:
        text = None if asked == "1" else composition_mistake(error)
        if text is None:
            raise
        print(f"error: {text}", file=sys.stderr)
        sys.exit(2)
    finally:
        if asked is None:
            os.environ.pop("HYDRA_FULL_ERROR", None)
        else:
            os.environ["HYDRA_FULL_ERROR"] = asked


def _check_complete(cfg: DictConfig) -> None:
    missing = sorted(OmegaConf.missing_keys(cfg))
    if missing:
        raise UserError(f"nothing given for {', '.join(missing)}: add {' '.join(f'{key}=…' for key in missing)}")


def _mistake(error: Exception) -> str | None:
    """Return the message of a user error (configuration or input); None for an error in our code."""
    mistake = user_error(error)
    if mistake is not None:
        return _plain(str(mistake))
    cause = error.__cause__ if isinstance(error, InstantiationException) else error
    refused = _is_refused_by_lightning(cause)
    if isinstance(error, InstantiationException) and (
        refused or isinstance(cause, (ValueError, TypeError, ImportError))
    ):
        key = str(error).rsplit("full_key: ", 1)[-1] if "full_key: " in str(error) else "configuration"
        return f"{key}: {cause}"
    return str(error) if refused else composition_mistake(error) or explanation(error) or _refusal(error)


def _refusal(error: Exception) -> str | None:
    """Return the system's message on a file that it refuses to open, or whose name it refuses."""
    is_users = isinstance(error, OSError) and error.errno in REFUSALS and error.filename
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and is_users else None


def _is_refused_by_lightning(error: BaseException | None) -> bool:
    """Return whether Lightning refuses a configuration; never true before Lightning is imported."""
    exceptions = sys.modules.get("lightning.pytorch.utilities.exceptions")
    return exceptions is not None and isinstance(error, exceptions.MisconfigurationException)


def _plain(message: str) -> str:
    """Remove the traceback that a data-loading worker puts before its message."""
    return message.rsplit("UserError: ", 1)[-1].rstrip() if "Original Traceback" in message else message


def prepare() -> None:
    """Set up a process: keep freed memory, exit quickly, and silence library warnings that nobody can act on."""
    keep_freed_memory()
    name_nobody()
    for stream in (sys.stdout, sys.stderr):
        # The terminal may only support ASCII.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # Otherwise the interpreter spends a second at exit on collecting garbage in all imported libraries.
    atexit.register(gc.freeze)
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for pattern in NOISE:
        warnings.filterwarnings("ignore", pattern)
    silence_loggers()


def silence_loggers() -> None:
    """Let libraries log warnings and errors only.

    Lightning sets its own level while it is imported: call this again after that.
    """
    for name in ("lightning.pytorch", "lightning.fabric", "timm", "onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.WARNING)


def console() -> Console:
    """Return the console that commands print to: as wide as the terminal, or 120 columns without one.

    `[x]` and `:x:` are not markup: paths and names may contain them.
    """
    out = Console(markup=False, emoji=False)
    return out if out.is_terminal else Console(markup=False, emoji=False, width=120)
