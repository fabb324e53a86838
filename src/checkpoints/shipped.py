"""The trained networks that come with the project, by name, as in `Predictor("run-camo-lite0")`."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "results" / "weights"
SUFFIX = ".safetensors"


def shipped_networks() -> list[str]:
    """Return the names, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def path_of(source: str | PathLike[str]) -> Path:
    """Return the path that ``source`` means: the file of a shipped network if it is its name, else itself.

    A file or folder of that name in the current folder is preferred.
    """
    path = Path(source)
    is_name = str(source) in shipped_networks() and not path.exists()
    return FOLDER / f"{source}{SUFFIX}" if is_name else path


def no_network(path: Path, what: str = "file") -> str:
    """Return the message that there is no such file (or other ``what``); for a bare name it lists the shipped networks.

    >>> no_network(Path("outputs/gone.ckpt"))
    'no file outputs/gone.ckpt'
    """
    is_name = len(path.parts) == 1 and not path.suffix and not path.exists()
    hint = f", and no network of that name; the project comes with {', '.join(shipped_networks())}" if is_name else ""
    return f"no {what} {path}{hint}"
