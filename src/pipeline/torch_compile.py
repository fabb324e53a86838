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
    """Compile the network in place: the names of its weights do not change, so checkpoints fit with and without it.

    The first step of each shape (training, validation, an incomplete last batch) takes minutes on a CPU. Results equal
    those of the plain network up to rounding. The scan remains a custom operator.

    Raises:
        UserError: inductor finds no C++ compiler or no Python headers.
    """
    if backend == "inductor":
        missing = _missing()
        if missing is not None:
            raise UserError(f"compile=true needs {missing}; or compile=false")
    net.compile(backend=backend)


def _missing() -> str | None:
    name = shlex.split(os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++"))
    if not name or shutil.which(name[0]) is None:
        compiler = name[0] if name else "CXX"
        return f"a C++ compiler: {compiler} is not on the PATH; install g++, or set CXX=… in the environment"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return f"Python's headers: there is no {sysconfig.get_path('include')}/Python.h; install them (python3-dev)"
    return None
