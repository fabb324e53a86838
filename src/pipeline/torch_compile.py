"""`compile=true`: the network as one compiled graph."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path

from torch import nn

from src.utils.errors import UserError


def compile_network(net: nn.Module, backend: str = "inductor") -> None:
    """`torch.compile` in place: names of weights stay as they are, so checkpoints fit with and without it.

    The first step of each shape (training, validation, an incomplete last batch) takes minutes on a CPU. Results are
    those of the plain network up to rounding. The scan stays the operator that it is.

    Raises:
        UserError: inductor has no C++ compiler or no headers of Python to work with.
    """
    if backend == "inductor":
        missing = _missing()
        if missing is not None:
            raise UserError(f"compile=true needs {missing}; or compile=false")
    net.compile(backend=backend)


def _missing() -> str | None:
    name = shlex.split(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
    if not name or shutil.which(name[0]) is None:
        return f"a C++ compiler: {name[0] if name else 'CXX'} is not on the PATH; install g++, or name another one in the environment, CXX=…"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"Python's headers: there is no {sysconfig.get_path('include')}/Python.h; install them (python3-dev)"
    return None
