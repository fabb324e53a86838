"""How far a prediction is, and how long it will take."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar


class Progress:
    """A progress bar whose total may grow; to be used as a context.

    Args:
        console: where it is drawn; None draws nothing.
    """

    def __init__(self, console: Console | None = None) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Bar(*columns, console=console, disable=console is None)
        self._task = self._bar.add_task("Predicting", total=0)
        self._total = 0

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def expect(self, count: int) -> None:
        """Add pictures or frames to what is to be done."""
        self._total += count
        self._bar.update(self._task, total=self._total)

    def advance(self, count: int) -> None:
        """Add pictures or frames to what is done."""
        self._bar.advance(self._task, count)
