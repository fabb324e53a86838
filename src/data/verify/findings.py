"""What a check finds: one line about one file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """`error`: the data cannot be used so; `warning`: it can, but somebody should look; `note`: worth knowing, handled by a stated rule.

    `kind` is one word for a table, `text` the sentence after the file's name.
    """

    severity: Severity
    kind: str
    path: Path
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.text}")


UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what Python makes of bytes in a file's name that are no UTF-8."""


def one_line(text: str) -> str:
    """What cannot be printed, a line break among it, as an escape."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def errors(findings: list[Finding]) -> list[str]:
    """The lines of those findings that forbid to go on."""
    return [str(finding) for finding in findings if finding.severity == "error"]
