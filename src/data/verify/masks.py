"""Judge masks: labels, sets without an object, fields of view. The same rules apply wherever masks are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from src.data.masks import MaskFacts
from src.data.verify.findings import Finding

GREY_SHARE = 0.05
"""A mask with a larger share of pixels between 10 and 90 % of its range is a picture.

JPEG masks of Kvasir-SEG have at most 0.007.
"""
INVERTED_BORDER = 0.9
"""A mask that covers more than this share of the border, and half of the image, looks inverted.

None of 2300 real masks does.
"""
VIEW_SHARE, VIEW_DIFFERENCE = 0.4, 0.04
"""Masks that cover more than the first share, and differ from their mean by less than the second, are a field of view.

They are then one and the same region in all images.
"""
VIEW_COUNT = 3
"""Fewest masks in which a field of view is recognised."""

ORDINARY = frozenset({"grey", "colour"})
"""Kinds of warnings that the description of how masks are read already covers."""

Judged = tuple[Path, MaskFacts]


def judge_mask(path: Path, facts: MaskFacts) -> Iterator[Finding]:
    """Yield what is wrong or remarkable about one mask."""
    if (problem := _content_error(facts)) is not None:
        yield Finding("error", problem[0], path, problem[1])
    elif facts.is_empty:
        yield Finding("warning", "empty", path, "no object at all")
    elif facts.share == 1:
        yield Finding("warning", "full", path, "everything is object")
    elif facts.share > 0.5 and facts.border > INVERTED_BORDER:
        text = f"{facts.share:.0%} object, {facts.border:.0%} of the border: black and white swapped?"
        yield Finding("warning", "inverted", path, text)
    elif facts.soft:
        yield Finding(
            "warning",
            "grey",
            path,
            f"grey levels (JPEG?), cut at half: above {facts.top / 2:g} of {facts.top:g} is object",
        )
    if facts.is_coloured:
        yield Finding(
            "warning", "colour", path, "a coloured mask; a pixel is object if its strongest channel is above half"
        )
    elif facts.source == "transparency":
        yield Finding("note", "mode", path, "one colour all over, so its transparency is read as the mask")
    elif facts.mode not in ("1", "L"):
        how = "index" if facts.source == "index" else "brightest channel"
        yield Finding("note", "mode", path, f"mask of mode {facts.mode}, read by its {how}")
    if facts.top == 1 and not facts.is_empty:
        yield Finding("note", "0/1", path, "values 0 and 1, read as background and object")


def _content_error(facts: MaskFacts) -> tuple[str, str] | None:
    """Return the kind and the text of what makes a mask useless; None if nothing does."""
    top = facts.top
    if facts.flaw is not None:
        return "no mask", f"{facts.flaw}; write objects as 255 and the rest as 0"
    if facts.ignored == 1:
        return "ignored", "every pixel is ignored; remove the image and its mask"
    if facts.ignored and facts.is_lossy:
        return "ignored", "a JPEG blurs the value to ignore; save masks as PNG"
    if facts.middle > GREY_SHARE and not facts.levels:
        cut_out = (
            "; colours and transparency both vary: a cut-out? save its transparency alone" if facts.is_cut_out else ""
        )
        return (
            "no mask",
            f"not a mask but a grey picture: {facts.middle:.0%} of its pixels lie between black and white{cut_out}",
        )
    if facts.middle > GREY_SHARE or (facts.plateaus and not facts.is_empty):
        return "labels", f"values {', '.join(f'{v:g}' for v in facts.levels)} of {top:g}; labels? {_way_out(facts)}"
    if facts.is_empty and facts.highest > 0:
        return (
            "labels",
            f"values up to {facts.highest:g} of {top:g}, so everything is background; labels? {_way_out(facts)}",
        )
    return None


def _way_out(facts: MaskFacts) -> str:
    way = f"write objects as {facts.top:g} and the rest as 0, or as 1 and 0"
    if facts.ignored is None and facts.levels and facts.levels[-1] == 255 and facts.source == "grey":
        way += "; where 255 marks pixels to ignore, data.ignore_value=255 (ignore_value=255 in src.score)"
    return way


def judge_set(folder: Path, masks: Sequence[Judged]) -> Iterator[Finding]:
    """Yield what only shows when all masks of a set are looked at together."""
    if not masks:
        return
    facts = [one for _, one in masks]
    if all(one.is_empty and one.highest == 0 for one in facts):
        why = "; nothing is left but what data.ignore_value ignores" if any(one.ignored for one in facts) else ""
        yield Finding(
            "error",
            "empty",
            folder,
            f"no object in any of {len(masks)} masks{why}; take the folder that holds the objects",
        )
    elif all(one.share == 1 for one in facts):
        yield Finding(
            "error",
            "full",
            folder,
            f"everything is object in all of {len(masks)} masks; take the folder that holds the objects",
        )
    elif _is_one_view(facts):
        text = (
            f"all {len(masks)} masks are the same large region: a field of view, and not the objects; "
            "take the folder that holds these"
        )
        yield Finding("error", "field of view", folder, text)
    filled = [(path, one) for path, one in masks if one.highest > 0]
    yield from _mixed(folder, filled, lambda one: "values 0 and 1" if one.top == 1 else f"values up to {one.top:g}")
    yield from _mixed(
        folder, filled, lambda one: "transparency" if one.source == "transparency" else "colour or brightness"
    )


def _is_one_view(facts: Sequence[MaskFacts]) -> bool:
    if len(facts) < VIEW_COUNT or min(one.share for one in facts) < VIEW_SHARE:
        return False
    thumbs = np.stack([one.thumb for one in facts]).astype(np.float32) / 255
    return bool(np.abs(thumbs - thumbs.mean(0)).mean((1, 2)).max() < VIEW_DIFFERENCE)


def _mixed(folder: Path, masks: Sequence[Judged], key: Callable[[MaskFacts], str]) -> Iterator[Finding]:
    """Yield a warning if the masks of one set are read in several ways.

    A file with values 0 and 1 among others is rarely intended.
    """
    counts = Counter(key(one) for _, one in masks)
    if len(counts) > 1:
        rarest = min(counts, key=lambda word: counts[word])
        example = next(path for path, one in masks if key(one) == rarest)
        words = ", ".join(f"{count} by {word}" for word, count in counts.most_common())
        yield Finding(
            "warning", "mixed", folder, f"masks are read in several ways: {words}, e.g. {example.name}; is that meant?"
        )


def reading(facts: Iterable[MaskFacts]) -> str:
    """Return in words how the masks of a set are read."""
    known = list(facts)
    counts = Counter(one.reading for one in known if one.highest > 0)
    words = (
        "; ".join(f"{reading} ({count})" if len(counts) > 1 else reading for reading, count in counts.most_common())
        or "no object"
    )
    ignored = [one.ignored for one in known if one.ignored is not None]
    return words + (f"; {np.mean(ignored):.2%} of the pixels ignored" if ignored else "")


def summaries(label: str, total: int, findings: Iterable[Finding]) -> tuple[str, ...]:
    """Return one line per kind of warning about a set, with the number of files and an example."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.severity == "warning":
            kinds.setdefault(finding.kind, []).append(finding)
    return tuple(
        f"{label}: {found[0].text}"
        if found[0].path.is_dir()
        else f"{label}: {kind}: {len(found)} of {total}, e.g. {found[0].path.name}: {found[0].text}"
        for kind, found in kinds.items()
    )
