"""Command lines that are printed for the user to run, quoted for the shell and for Hydra."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Quote, QuotedString

from src.utils.launch import launched

PLAIN = re.compile(r"(?!(?i:null|true|false|nan|inf)$)[A-Za-z_/][A-Za-z0-9_/.-]*|\.{1,2}/[A-Za-z0-9_/.-]*", re.ASCII)
"""Texts that Hydra reads unchanged without quotes."""


def command_line(output_dir: Path, *overrides: str) -> str:
    """Return the command that was typed, with the run's own folder and other overrides.

    In a multirun it runs this job only.

    Args:
        output_dir: the run's folder.
        *overrides: ``KEY=VALUE`` (see :func:`override`); each replaces what was typed for its key.
    """
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    replaced = ("paths.output_dir", "sweep", *(word.partition("=")[0] for word in overrides))
    words = [word for word in typed if word.partition("=")[0].lstrip("+") not in replaced]
    return shell_line("src.train", *words, override("paths.output_dir", output_dir), *overrides)


def shell_line(module: str, *words: str) -> str:
    """Return the line that runs a module with these arguments, by the launcher and interpreter of this process."""
    return f"{_start()} {shlex.join(['-m', module, *words])}"


def override(key: str, value: str | Path) -> str:
    """Return ``KEY=VALUE`` for any text, quoted if Hydra would otherwise misread it.

    >>> print(override("ckpt_path", "a/b.ckpt"), override("ckpt_path", "a=b, c.ckpt"))
    ckpt_path=a/b.ckpt ckpt_path='a=b, c.ckpt'
    """
    text = str(value)
    if PLAIN.fullmatch(text):
        return f"{key}={text}"
    return f"{key}={QuotedString(text.replace('${', chr(92) + '${'), Quote.single).with_quotes()}"


def _start() -> str:
    """Return the launcher and the interpreter that started this process, as a command."""
    launch = launched()
    if launch is not None and launch.by == "torchrun":
        here = launch.here == launch.processes
        return f"torchrun --nproc-per-node={launch.here}" if here else f"torchrun --nproc-per-node={launch.here} …"
    found = shutil.which("python")
    python = (
        "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else shlex.quote(sys.executable)
    )
    return f"srun {python}" if launch is not None else python
