"""The one exception for mistakes that the user can mend."""

from __future__ import annotations

from collections.abc import Sequence


class UserError(ValueError):
    """Wrong input: says what is wrong, where (file or key), and the way out.

    Command lines print the text without a traceback and exit with status 2. ``problems`` are listed all
    at once, one a line, so that nobody has to run a command five times to find five mistakes.
    """

    def __init__(self, message: str, problems: Sequence[str] = (), limit: int = 20) -> None:
        self.problems = tuple(problems)
        lines = [message, *(f"  - {problem}" for problem in self.problems[:limit])]
        if len(self.problems) > limit:
            lines.append(f"  … and {len(self.problems) - limit} more")
        super().__init__("\n".join(lines))
