"""Matplotlib without a screen, and files that are the same byte for byte when drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DPI = 130


def figure_of(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure of `width` × `height` inches and its axes (rows, columns), laid out tightly."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["axes.formatter.useoffset"] = False  # 0.28091, not 1 at an axis of "1e-5+0.2809"
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **{"layout": "constrained"} | options)


def plain(text: str) -> str:
    """Somebody's words as matplotlib prints them unchanged: no formula between `$`, no legend entry that a leading `_` hides."""
    escaped = text.replace("$", r"\$")
    return r"$\_$" + escaped[1:] if escaped.startswith("_") else escaped


def save_figure(figure: Any, *paths: Path) -> None:
    """Write the figure to each path and close it; no date goes into the files."""
    import matplotlib.pyplot as plt

    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
        figure.set_layout_engine("none")  # laid out once: the next file has the same places
    plt.close(figure)
