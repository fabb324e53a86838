"""What a check finds: one line about one file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One line about one file.

    `severity` is `error`: the data cannot be used; `warning`: they can, but somebody should look; or `note`: worth
    knowing, and handled by a stated rule. `kind` is one word for a table, `text` the sentence after the file's name.
    """

    severity: Severity
    kind: str
    path: Path
    text: str

    def __str__(self) -> str:
        return one_line(f"{self.path}: {self.text}")


UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what Python makes of bytes in a file name that are not UTF-8."""


def one_line(text: str) -> str:
    """Return the text with everything that cannot be printed, line breaks included, as escapes."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def errors(findings: list[Finding]) -> list[str]:
    """Return the lines of the findings that are errors."""
    return [str(finding) for finding in findings if finding.severity == "error"]
