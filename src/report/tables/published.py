"""Published numbers from `published.yaml`; tables show them beside measured ones, marked as published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omegaconf import OmegaConf

from src.utils.errors import UserError

FILE = Path(__file__).with_name("published.yaml")
CELLS = ("mae", "f_adp", "e_mean", "s_alpha")
"""The measures of a cell, in order; the paper's E is the mean over thresholds, its F the adaptive one."""
SOURCE = "Table 1 of RUN (ICML 2025)"
SETTINGS = {"common": "", "mis": "multiple input scales", "ms": "multiple stages"}


@dataclass(frozen=True)
class PublishedRow:
    """One published row; `scores`: data set → measure → value, printed with three decimals in the source."""

    method: str
    backbone: str
    setting: str
    scores: dict[str, dict[str, float]]

    @property
    def label(self) -> str:
        """Return the row's label, such as `FEDER (Res2Net50)`, with the setting if it is not the common one."""
        return f"{self.method} ({', '.join(filter(None, (self.backbone, SETTINGS[self.setting])))})"


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Return all rows of the file, in its order."""
    rows = OmegaConf.to_container(OmegaConf.load(FILE))
    assert isinstance(rows, list)
    return tuple(PublishedRow(row.pop("method"), row.pop("backbone"), row.pop("setting"), _scores(row)) for row in rows)


def _scores(cells: dict[str, list[float]]) -> dict[str, dict[str, float]]:
    return {dataset: dict(zip(CELLS, values, strict=True)) for dataset, values in cells.items()}


def select_published(
    datasets: Sequence[str], settings: Sequence[str] = ("common",), backbones: Sequence[str] | None = None
) -> list[PublishedRow]:
    """Return the rows with any of the data sets, of the settings and backbones (None: all); settings=[]: no rows.

    Raises:
        UserError: a setting or backbone that no row has.
    """
    known = {"setting": list(SETTINGS), "backbone": list(dict.fromkeys(row.backbone for row in published_rows()))}
    for key, asked in (("setting", settings), ("backbone", backbones or ())):
        unknown = [name for name in asked if name not in known[key]]
        if unknown:
            raise UserError(
                f"report.published_{key}s: no published row has {', '.join(unknown)}; there are {', '.join(known[key])}"
            )
    return [
        row
        for row in published_rows()
        if row.setting in settings
        and (backbones is None or row.backbone in backbones)
        and any(name in row.scores for name in datasets)
    ]
