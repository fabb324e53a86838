"""Which images a training has seen and which it was selected on: a record that travels in its checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from src.data.sources import FolderPairs, Source

SHOWN = 5
UNKNOWN = "0"
"""The size of an image without a file; older records have it for all images of several sets."""


def record(part: Source, sets: Sequence[FolderPairs]) -> str:
    """Return one line per image of a part: the size of its file in bytes (0 without a file), a tab, its name."""
    label = "{set}/{name}" if len(sets) > 1 else "{name}"  # as `Concat` names them
    files = {
        label.format(set=source.name, name=name): source.paths(name)[0] for source in sets for name in source.names
    }
    return "\n".join(f"{_size(files.get(name))}\t{name}" for name in part.names)


def changed_images(before: Mapping[str, str] | None, now: Mapping[str, str], notes: list[str]) -> list[str]:
    """Compare the record in a checkpoint with that of the training that is to resume from it.

    Args:
        before: part (``train``, ``val``) → its record in the checkpoint; None: the checkpoint has none.
        now: likewise of the training.
        notes: lines about images that are new, gone or changed are appended.

    Returns:
        One line per reason not to resume: trained images that would validate, the reverse, or other images altogether.
    """
    if before is None:
        return []
    then, here = ({part: _sizes(text) for part, text in one.items()} for one in (before, now))
    all_then, all_here = ({**one["train"], **one["val"]} for one in (then, here))
    common = all_then.keys() & all_here.keys()
    known = {name for name in common if UNKNOWN not in (all_then[name], all_here[name])}
    altered = sorted(name for name in known if all_then[name] != all_here[name])
    if all_then and (not common or len(altered) > len(common) / 2):
        return [
            f"data: these are other training images ({_some(sorted(all_here))}) "
            f"than the checkpoint's ({_some(sorted(all_then))})"
        ]
    problems = []
    for first, second, what in (
        ("train", "val", "were trained on and would validate"),
        ("val", "train", "were held out and would train"),
    ):
        if moved := sorted(then[first].keys() & here[second].keys()):
            problems.append(
                f"data: images {what}, because the set of images has changed: {_some(moved)}; "
                "restore the files that were there"
            )
    changes = {
        "new": all_here.keys() - all_then.keys(),
        "gone": all_then.keys() - all_here.keys(),
        "with other bytes": altered,
    }
    notes += [
        f"training images that are {what} since the checkpoint: {_some(sorted(names))}"
        for what, names in changes.items()
        if names
    ]
    return problems


def _sizes(text: str) -> dict[str, str]:
    return {name: size for size, _, name in (line.partition("\t") for line in text.split("\n") if line)}


def _size(path: Path | None) -> int:
    with suppress(OSError):
        return 0 if path is None else path.stat().st_size
    return 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
