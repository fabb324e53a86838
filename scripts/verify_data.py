"""Check the data sets of a task before you use them: `python -m scripts.verify_data data=cod data.root=FOLDER`.

Exit status: 0: usable, perhaps with warnings; 1: problems in the data; 2: a mistake in the command.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from src.cli.command import command, console
from src.data.layouts import locate_set, missing_root, missing_set
from src.data.published_sets import Split, is_published, spec_of
from src.data.settings import DataSettings
from src.data.verify.findings import Finding, one_line
from src.data.verify.inspection import Inspection
from src.data.verify.masks import reading
from src.data.verify.report import SetReport, Verification, verify
from src.utils.errors import Problems, UserError

REPORT = "report.json"
SHOWN = 5
"""Number of findings of one kind and set that the table shows; the report has all of them."""
SYSTEMATIC = 0.5
"""A warning that concerns more than this share of a set is shown once, with a count."""


def verify_data(cfg: DictConfig) -> Verification:
    """Check, print, and write `report.json` into `paths.output_dir`.

    Raises:
        UserError: the check cannot begin (no data root, nothing to check).
    """
    # Imported here because it imports torch: help and mistakes are printed sooner this way.
    from src.data.synthetic import SyntheticDataModule

    data = instantiate(cfg.data)
    if isinstance(data, SyntheticDataModule):
        raise UserError("data=synthetic is drawn, not read: there is nothing to verify; name a task, e.g. data=cod")
    settings: DataSettings = data.settings
    if not settings.root.is_dir():
        raise UserError(missing_root(settings.root))
    _check(cfg, settings)
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # huge images are among the findings
    out, start = console(), time.perf_counter()
    report = verify(
        settings.root,
        settings.train_sets,
        settings.test_sets,
        cfg.full,
        cfg.workers,
        _progress(out),
        settings.ignore_value,
        settings.own_names,
    )
    seconds = time.perf_counter() - start
    if not report.sets:
        raise UserError(
            f"none of the sets is under {settings.root}:",
            [missing_set(settings.root, split, name) for split, name in report.absent],
        )
    path = Path(cfg.paths.output_dir) / REPORT
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps(report.as_dict(), indent=1, ensure_ascii=False), encoding="utf-8", errors="backslashreplace"
    )
    show(report, out)
    images = sum(len(one.pairs) for one in report.sets)
    verdict = "usable" if report.usable else "not usable"
    out.print(
        f"{verdict}: {images} pairs, {report.count('error')} problems, {report.count('warning')} warnings "
        f"({images / seconds:.0f} pairs/s, {'full check' if report.full else 'names and headers'}). Written: {path}",
        highlight=False,
        soft_wrap=True,
    )
    return report


def _check(cfg: DictConfig, settings: DataSettings) -> None:
    wanted: list[tuple[Split, str]] = [("train", name) for name in settings.train_sets]
    wanted += [("test", name) for name in settings.test_sets]
    absent = (
        one
        for one in wanted
        if not is_published(one[1]) and locate_set(settings.root, *one, settings.own_names) is None
    )
    problems = Problems(missing_set(settings.root, *one) for one in absent)
    if not isinstance(cfg.full, bool):
        problems.append(f"full={cfg.full}: must be true or false")
    if cfg.workers is not None and (not isinstance(cfg.workers, int) or cfg.workers < 1):
        problems.append(f"workers={cfg.workers}: must be 1 or more, or null for one per core")
    if (Path(cfg.paths.output_dir) / REPORT).exists():
        problems.append(f"paths.output_dir={cfg.paths.output_dir} holds a {REPORT} already; name another folder")
    problems.raise_all("the check cannot begin:")


def show(report: Verification, out: Console) -> None:
    """Print a table in a terminal; elsewhere one unwrapped line per finding, `severity: set: kind: path: text`."""
    rows = [(one, finding) for one in report.sets for finding in _gathered(one)]
    if out.is_terminal:
        out.print(_overview(report))
        if rows:
            out.print(_table(rows))
    else:
        for one in report.sets:
            out.print(
                f"{one.label}: {len(one.pairs)} pairs in {one.pairs.folders.images}; masks: {_reading(one)}", **PLAIN
            )
        for one, finding in rows:
            out.print(f"{finding.severity}: {one.label}: {finding.kind}: {finding}", **PLAIN)
    for split, name in report.absent:
        out.print(f"absent, skipped: {name}-{split.capitalize()} ({spec_of(name).source})", **PLAIN)


def _reading(one: SetReport) -> str:
    return reading(facts for _, facts in one.masks) if one.masks else "not read"


PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False, "soft_wrap": True}


def _gathered(one: SetReport) -> Iterator[Finding]:
    """Yield the findings to show, errors first, without notes; a warning about most of a set is yielded once."""
    kinds: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for finding in one.findings:
        kinds[finding.severity, finding.kind].append(finding)
    for (severity, kind), findings in sorted(kinds.items()):
        if severity == "warning" and len(findings) > max(SHOWN, SYSTEMATIC * len(one.pairs)):
            first = findings[0]
            yield Finding(
                "warning",
                kind,
                first.path.parent,
                f"{len(findings)} of {len(one.pairs)}, e.g. {first.path.name}: {first.text}",
            )
        elif severity != "note":
            yield from findings


def _overview(report: Verification) -> Table:
    table = Table("set", "pairs", "problems", "warnings", "images", "masks", "read as", title=_cell(f"{report.root}"))
    for one in report.sets:
        counts = [sum(finding.severity == severity for finding in one.findings) for severity in ("error", "warning")]
        folders = [
            _cell(f"{_relative(folder, report.root)}") for folder in (one.pairs.folders.images, one.pairs.folders.masks)
        ]
        table.add_row(one.label, str(len(one.pairs)), *map(str, counts), *folders, _reading(one))
    return table


def _table(rows: list[tuple[SetReport, Finding]]) -> Table:
    table = Table("", "set", "kind", "file", "what")
    shown: dict[tuple[str, str, str], int] = defaultdict(int)
    for one, finding in rows:
        shown[one.label, finding.severity, finding.kind] += 1
        if shown[one.label, finding.severity, finding.kind] <= SHOWN:
            style = "red" if finding.severity == "error" else "yellow"
            name = finding.path.name if finding.path.suffix else f"{finding.path}"
            table.add_row(finding.severity, one.label, finding.kind, *map(_cell, (name, finding.text)), style=style)
    for (label, severity, kind), count in shown.items():
        if count > SHOWN:
            table.add_row(severity, label, kind, f"… {count - SHOWN} more", "the report lists all of them", style="dim")
    return table


def _relative(path: Path, root: Path) -> Path:
    return path.relative_to(root) if path.is_relative_to(root) else path


def _cell(text: str) -> Text:
    return Text(one_line(text), overflow="fold")  # not markup: names may hold brackets


def _progress(out: Console) -> Any:
    def progress(done: Iterable[Inspection], label: str, total: int) -> Iterable[Inspection]:
        return track(done, description=label, total=total, console=out) if out.is_terminal else done

    return progress


@command("verify_data")
def main(cfg: DictConfig) -> Any:
    """Run the command line of :func:`verify_data`."""
    if not verify_data(cfg).usable:
        sys.exit(1)


if __name__ == "__main__":
    main()
