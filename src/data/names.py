"""Names that pair files: patterns such as `%s_segmentation.png`, where `%s` is the name that image and mask share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from src.utils.errors import UserError

NAME = "%s"
MOST = 0.5
"""A guessed pattern must pair more than this share of the files."""
LOOKED_AT = 200
"""Number of files from which a pattern is guessed."""


def stem_pattern(key: str, pattern: str) -> tuple[str, str]:
    """Return the regular expression of stems that a pattern means, and its extension (empty if it has none).

    Args:
        key: the setting, for the message.
        pattern: a file name with `%s` for the shared name, which becomes group 1 of the expression.

    Raises:
        UserError: the pattern has not exactly one `%s`, or includes a folder.

    >>> stem_pattern("data.masks", "%s_segmentation.png")
    ('(.*)_segmentation', '.png')
    """
    if pattern.count(NAME) != 1 or "/" in pattern:
        ways = "with %s once for the shared name and no folder, e.g. %s_segmentation.png"
        raise UserError(f"{key}={pattern}: expected a file name {ways}")
    before, _, after = pattern.partition(NAME)
    suffix = Path(f"x{after}").suffix
    return f"{re.escape(before)}(.*){re.escape(after.removesuffix(suffix))}", suffix.lower()


def without(pattern: str) -> str:
    """Return the regular expression of all stems that `pattern` does not match.

    >>> [bool(re.fullmatch(without("(.*)_mask"), stem)) for stem in ("a", "a_mask")]
    [True, False]
    """
    return f"((?!{pattern.replace('(.*)', '.*')}$).*)"


def guess_pattern(names: Collection[str], others: Collection[str]) -> str | None:
    """Return the pattern by which most of `others` would pair with `names`; None if there is none.

    >>> guess_pattern(["a", "b"], ["a_mask", "b_mask"]), guess_pattern(["a", "b"], ["mask_a", "mask_b"])
    ('%s_mask', 'mask_%s')
    >>> guess_pattern(["a"], ["b"]) is None
    True
    """
    known, votes = set(names), Counter[str]()
    looked_at = sorted(others)[:LOOKED_AT]
    for other in looked_at:
        folder, _, stem = other.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        found = {
            f"{stem[:start]}{NAME}{stem[end:]}"
            for start in range(len(stem))
            for end in range(start + 1, len(stem) + 1)
            if (start, end) != (0, len(stem)) and prefix + stem[start:end] in known
        }
        votes.update(found)
    best, count = max(votes.items(), key=lambda vote: (vote[1], -len(vote[0])), default=("", 0))
    return best if count > MOST * min(len(looked_at), len(known)) else None


def set_names(names: Sequence[str] | str) -> tuple[str, ...]:
    """Return the names of sets of a setting that holds a list or one name."""
    return (names,) if isinstance(names, str) else tuple(str(name) for name in names)
