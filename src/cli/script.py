"""What all scripts that are not Hydra commands share: help, `data.root=FOLDER`, one-line errors, exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from src.cli.command import prepare, reported_mistakes

DATA_ROOT = "data.root="


def _path(text: str) -> Path:
    return Path(text).expanduser()


class ScriptParser(argparse.ArgumentParser):
    """The command line of a script.

        parser = ScriptParser(__doc__)
        parser.add_data_root()
        parser.run(bench)

    Args:
        description: what `--help` prints first, usually the module's docstring.
    """

    def __init__(self, description: str | None) -> None:
        spec = sys.modules["__main__"].__spec__
        name = f"python -m {spec.name.removesuffix('.__main__')}" if spec is not None else None
        super().__init__(prog=name, description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        self._reads_data = False

    def add_data_root(self, of_training: bool = False) -> None:
        """Accept `data.root=FOLDER`, as the commands do; it becomes `arguments.data_root`.

        Args:
            of_training: for scripts that open a checkpoint and the data that it was trained on: the default is None.
                Otherwise it is `$COS_DATA`, or `data` if that is not set.
        """
        default = None if of_training else _path(os.environ.get("COS_DATA", "data"))
        words = "that of the training" if of_training else "$COS_DATA, or data"
        self._reads_data = True
        self.add_argument(
            f"--{DATA_ROOT[:-1]}",
            dest="data_root",
            type=_path,
            default=default,
            metavar="FOLDER",
            help=f"the data root, given as {DATA_ROOT}FOLDER (default: {words})",
        )

    def run(self, task: Callable[[argparse.Namespace], Any], words: Sequence[str] | None = None) -> NoReturn:
        """Call `task` with the arguments and end the process.

        The exit status is the int that `task` returns, else 0. A UserError is printed without a traceback, and the
        status is 2.

        Args:
            task: what the script does; it is given the parsed arguments.
            words: the arguments (default: those of the process).
        """
        arguments = self.parse_args([self._as_option(word) for word in (sys.argv[1:] if words is None else words)])
        prepare()
        failed: list[str] = []
        status: Any = None
        with reported_mistakes(failed):
            status = task(arguments)
        sys.exit(2 if failed else status if isinstance(status, int) else 0)

    def error(self, message: str) -> NoReturn:
        """Report a mistake in the arguments in one line."""
        self.exit(2, f"error: {message}; --help lists the arguments\n")

    def _as_option(self, word: str) -> str:
        return f"--{word}" if self._reads_data and word.startswith(DATA_ROOT) else word
