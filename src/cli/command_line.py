"""Command lines that are printed to be run: they say what they shall say to the shell and to Hydra."""

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
"""What Hydra reads as the text that it is."""


def command_line(output_dir: Path, *overrides: str) -> str:
    """Return what was typed, for this job alone, in the run's own folder and with other overrides (see :func:`override`)."""
    typed = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    replaced = ("paths.output_dir", "sweep", *(word.partition("=")[0] for word in overrides))
    words = [word for word in typed if word.partition("=")[0].lstrip("+") not in replaced]
    return shell_line("src.train", *words, override("paths.output_dir", output_dir), *overrides)


def shell_line(module: str, *words: str) -> str:
    """Return the line that starts a module with these words, as this process was started."""
    return f"{_start()} {shlex.join(['-m', module, *words])}"


def override(key: str, value: str | Path) -> str:
    """Return ``KEY=VALUE`` for a text that may hold anything: quoted where Hydra would read something else.

    >>> print(override("ckpt_path", "a/b.ckpt"), override("ckpt_path", "a=b, c.ckpt"))
    ckpt_path=a/b.ckpt ckpt_path='a=b, c.ckpt'
    """
    text = str(value)
    if PLAIN.fullmatch(text):
        return f"{key}={text}"
    return f"{key}={QuotedString(text.replace('${', chr(92) + '${'), Quote.single).with_quotes()}"


def _start() -> str:
    """Return how this process was started: by which launcher, by which interpreter."""
    launch = launched()
    if launch is not None and launch.by == "torchrun":
        here = launch.here == launch.processes
        return f"torchrun --nproc-per-node={launch.here}" if here else f"torchrun --nproc-per-node={launch.here} …"
    found = shutil.which("python")
    python = (
        "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else shlex.quote(sys.executable)
    )
    return f"srun {python}" if launch is not None else python
