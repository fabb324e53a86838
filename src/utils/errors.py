"""The exception for mistakes that the user can correct, and a list that reports several of them together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class UserError(ValueError):
    """Wrong input; the message says what is wrong, where (file or key), and how to correct it.

    Command lines print the text without a traceback and exit with status 2. ``problems`` are listed together, one per
    line (at most ``limit``), so that nobody has to run a command five times to find five mistakes.
    """

    def __init__(self, message: str, problems: Sequence[str] = (), limit: int = 20) -> None:
        self.problems = tuple(problems)
        lines = [message, *(f"  - {problem}" for problem in self.problems[:limit])]
        if len(self.problems) > limit:
            lines.append(f"  … and {len(self.problems) - limit} more")
        super().__init__("\n".join(lines))


def user_error(error: BaseException) -> UserError | None:
    """Return the UserError in ``error``'s chain of causes (Hydra's `instantiate` wraps errors), or None."""
    return next((one for one in chain(error) if isinstance(one, UserError)), None)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__ or one.__context__


class Problems(list[str]):
    """Collects the problems of several steps, to report all of them at once.

    A list of sentences: steps append to it, or raise a UserError inside :meth:`catch`.

    >>> problems = Problems()
    >>> problems.append("first: 1")
    >>> with problems.catch():
    ...     raise UserError("second: 2")
    >>> problems.raise_all("nothing was done:")
    Traceback (most recent call last):
    src.utils.errors.UserError: nothing was done:
      - first: 1
      - second: 2
    """

    @contextmanager
    def catch(self) -> Iterator[None]:
        """Add a UserError of this block to the list; any other error is raised."""
        try:
            yield
        except Exception as error:
            mistake = user_error(error)
            if mistake is None:
                raise
            self.append(str(mistake))

    @property
    def total(self) -> str:
        """Return how many there are, in words: "one problem", "3 problems"."""
        return "one problem" if len(self) == 1 else f"{len(self)} problems"

    def raise_all(self, headline: str = "") -> None:
        """Raise one error with all problems; do nothing if there is none.

        Args:
            headline: first line of the message; without it the message is only the problems, one per line.

        Raises:
            UserError: if there is any problem.
        """
        if self:
            raise UserError(headline, self) if headline else UserError("\n".join(self))
