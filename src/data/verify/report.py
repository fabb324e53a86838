"""Verify first: one report of everything that is wrong with a task's data sets.

It is made before anything is trained on them, or reported about them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from src.data.layouts import NO_NAMES, OwnNames, display_name, locate_set
from src.data.published_sets import Split, count_note, group_of, spec_of
from src.data.sources import FolderPairs
from src.data.verify.checks import check_pairs, check_set, verdict_on
from src.data.verify.damage import capture_decoder_warnings
from src.data.verify.duplicates import find_copies
from src.data.verify.findings import Finding
from src.data.verify.inspection import Inspection, inspect
from src.data.verify.masks import Judged, judge_set, reading
from src.data.verify.verdicts import remember

Progress = Callable[[Iterable[Inspection], str, int], Iterable[Inspection]]


@dataclass
class SetReport:
    """One set: its files, what was found in them, and (after a full check) what its images and masks are like."""

    name: str
    split: Split
    pairs: FolderPairs
    findings: list[Finding] = field(default_factory=list)
    inspections: list[Inspection] = field(default_factory=list)
    masks: list[Judged] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Return whether there is no error."""
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def label(self) -> str:
        """Return the name of the set and its split, as reports print it."""
        return f"{self.pairs.name}-{self.split.capitalize()}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the JSON report."""
        folders, known = self.pairs.folders, [one for one in self.inspections if one.size is not None]
        sides = np.array([one.size for one in known]).reshape(-1, 2)
        masks = [facts for _, facts in self.masks]
        return {
            "set": self.name,
            "split": self.split,
            "images_folder": str(folders.images),
            "masks_folder": str(folders.masks),
            "fields_of_view": None if folders.valid is None else str(folders.valid),
            "pairs": len(self.pairs),
            "expected": spec_of(self.name).expected(self.split),
            "image_modes": dict(Counter(one.image_mode for one in known)),
            "mask_modes": dict(Counter(one.mode for one in masks)),
            "masks_read": reading(masks),
            "width": _spread(sides[:, 0]),
            "height": _spread(sides[:, 1]),
            "object_share": _spread(np.array([one.share for one in masks])),
            "findings": [{**vars(finding), "path": str(finding.path)} for finding in self.findings],
        }


@dataclass
class Verification:
    """All sets of a task; `absent` are those that do not exist (no problem: they are skipped)."""

    root: Path
    full: bool
    sets: list[SetReport] = field(default_factory=list)
    absent: list[tuple[Split, str]] = field(default_factory=list)

    def count(self, severity: str) -> int:
        """Return the number of findings of a severity."""
        return sum(finding.severity == severity for one in self.sets for finding in one.findings)

    @property
    def usable(self) -> bool:
        """Return whether there are sets and none has an error."""
        return bool(self.sets) and self.count("error") == 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for the JSON report."""
        return {
            "root": str(self.root),
            "check": "full" if self.full else "names and headers",
            "usable": self.usable,
            "errors": self.count("error"),
            "warnings": self.count("warning"),
            "absent": [f"{name}-{split.capitalize()}" for split, name in self.absent],
            "sets": [one.as_dict() for one in self.sets],
        }


def verify(
    root: Path,
    train_sets: Sequence[str],
    test_sets: Sequence[str],
    full: bool = True,
    workers: int | None = None,
    progress: Progress = lambda done, label, total: done,
    ignore: int | None = None,
    own: OwnNames = NO_NAMES,
) -> Verification:
    """Check the named sets under `root`; nothing is raised for what is wrong with them.

    Args:
        root: the data root.
        train_sets: names of training sets.
        test_sets: names of test sets.
        full: decode every file, judge every mask, look for copies; else names, headers and masks, as every training
            does.
        workers: processes of the full check; default: one per core.
        progress: wraps the pairs of a set as they are done: `progress(pairs, label, total)`.
        ignore: the value of ignored pixels in masks.
        own: see `layouts.locate_set`.
    """
    report = Verification(root, full)
    wanted: list[tuple[Split, str]] = [("train", name) for name in train_sets] + [("test", name) for name in test_sets]
    for split, name in wanted:
        folders = locate_set(root, split, name, own)
        if folders is None:
            report.absent.append((split, name))
            continue
        one = SetReport(name, split, FolderPairs(folders, display_name(root, name), ignore=ignore))
        if full:
            one.findings = check_pairs(one.pairs)
        else:
            one.findings, one.masks = check_set(one.pairs)
            _remember(one)
        note = count_note(name, split, len(one.pairs))
        if note is not None:
            one.findings.append(Finding("warning", "number", folders.images, note))
        report.sets.append(one)
    if full:
        _inspect_all(report, workers, progress)
        _find_copies(report)
    return report


def _inspect_all(report: Verification, workers: int | None, progress: Progress) -> None:
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, initializer=capture_decoder_warnings) as pool:
        for one in report.sets:
            names = list(one.pairs.names)
            images, masks = zip(*(one.pairs.paths(name) for name in names), strict=True) if names else ((), ())
            fields = [one.pairs.valid_path(name) for name in names]
            done = pool.map(inspect, names, images, masks, fields, repeat(one.pairs.ignore), chunksize=4)
            one.inspections = list(progress(done, one.label, len(names)))
            known = {finding.path for finding in one.findings if finding.severity == "error"}
            one.findings += [f for inspection in one.inspections for f in inspection.findings if f.path not in known]
            one.masks = [
                (i.mask_path, i.mask) for i in one.inspections if i.mask is not None and i.mask_path is not None
            ]
            one.findings += judge_set(one.pairs.folders.masks, one.masks)
            _remember(one)


def _remember(one: SetReport) -> None:
    """Remember a usable set, so that a training need not check it again."""
    if one.usable:
        remember(one.pairs, verdict_on(one.pairs, one.split, one.findings, one.masks))


def _find_copies(report: Verification) -> None:
    """Add a finding for each copy.

    Copies inside a set spoil its hold-out; copies across training and test make the test's numbers too good.
    """
    where = [
        (one, inspection) for one in report.sets for inspection in one.inspections if inspection.signature is not None
    ]
    for copy in find_copies([inspection.signature for _, inspection in where if inspection.signature is not None]):
        (first, a), (second, b) = where[copy.first], where[copy.second]
        other = first.pairs.paths(a.name)[0]
        how = "the mirror image of" if copy.mirrored else "the same picture as"
        if first.split == second.split:
            place = "" if first is second else f" in {first.label}"
            finding = Finding(
                "warning", "copy", second.pairs.paths(b.name)[0], f"{how} {other.name}{place}; remove one"
            )
        else:
            known = _known_leak(first.name, a.name, b.name) if first.name == second.name else None
            text = f"{how} {other} of {first.label}, which trains; {known or 'remove it from the training set'}"
            finding = Finding("warning" if known else "error", "leak", second.pairs.paths(b.name)[0], text)
        second.findings.append(finding)


def _known_leak(set_name: str, train: str, test: str) -> str | None:
    """Return why a leak belongs to a published split; None if it is the user's own mistake."""
    if (train, test) in spec_of(set_name).known_leaks:
        return "known of the official split"
    video = group_of(set_name, train)
    return (
        f"both are frames of {video}, parted by the official split"
        if video == group_of(set_name, test) != test
        else None
    )


def _spread(values: np.ndarray) -> dict[str, float] | None:
    if not values.size:
        return None
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}
