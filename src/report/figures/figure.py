"""Matplotlib without a display; figures that are drawn again give byte-identical files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DPI = 130


def figure_of(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """Return a figure of `width` × `height` inches and its axes (rows, columns), with constrained layout."""
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["axes.formatter.useoffset"] = False  # ticks like 0.28091, not 1 with the offset "1e-5+0.2809"
    import matplotlib.pyplot as plt

    return plt.subplots(rows, columns, figsize=(width, height), squeeze=False, **{"layout": "constrained"} | options)


def plain(text: str) -> str:
    """Escape a text so that matplotlib prints it as it is: `$` starts no formula, a leading `_` hides no label."""
    escaped = text.replace("$", r"\$")
    return r"$\_$" + escaped[1:] if escaped.startswith("_") else escaped


def save_figure(figure: Any, *paths: Path) -> None:
    """Write the figure to each path, without a date in the files, and close it."""
    import matplotlib.pyplot as plt

    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=DPI, metadata={"CreationDate": None} if path.suffix == ".pdf" else None)
        figure.set_layout_engine("none")  # laid out once: the next file has the same layout
    plt.close(figure)
