"""The one exception for mistakes that the user can mend, and the way to report several of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


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


def user_error(error: BaseException) -> UserError | None:
    """The UserError in the chain of causes of ``error`` (Hydra's `instantiate` wraps what it meets), if there is one."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, UserError):
            return chain
        chain = chain.__cause__ or chain.__context__
    return None


class Mistakes:
    """Collects the UserErrors of several steps, so that all of them are told at once."""

    def __init__(self) -> None:
        self.found: list[UserError] = []

    @contextmanager
    def collected(self) -> Iterator[None]:
        """Keep a UserError of this block for later; anything else is raised."""
        try:
            yield
        except Exception as error:
            mistake = user_error(error)
            if mistake is None:
                raise
            self.found.append(mistake)

    def raise_all(self) -> None:
        """Raise what was found, if anything was."""
        if self.found:
            raise UserError("\n".join(str(mistake) for mistake in self.found)) from self.found[0]
