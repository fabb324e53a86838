"""Check the settings of a network's parts; report all invalid ones at once, in one form."""

from __future__ import annotations

from typing import Any, NamedTuple

from src.utils.errors import Problems


class Expectation(NamedTuple):
    """A setting, its value, whether the value is valid, and what was expected."""

    name: str
    value: Any
    is_met: bool
    expected: str


def unmet(*expectations: Expectation) -> list[str]:
    """Return one line per setting that is invalid.

    >>> unmet(Expectation("depth", 0, False, "at least 1"), Expectation("width", 3, True, "at least 1"))
    ['depth: got 0, expected at least 1']
    """
    return [f"{one.name}: got {one.value!r}, expected {one.expected}" for one in expectations if not one.is_met]


def at_least_one(**settings: int) -> list[Expectation]:
    """Expect whole numbers above 0."""
    return [Expectation(name, value, value >= 1, "at least 1") for name, value in settings.items()]


def one_of(choices: tuple[Any, ...], **settings: Any) -> list[Expectation]:
    """Expect each setting to have one of the values ``choices``."""
    return [
        Expectation(name, value, value in choices, " or ".join(map(str, choices))) for name, value in settings.items()
    ]


def check(owner: str, *expectations: Expectation) -> None:
    """Raise a UserError that lists every invalid setting of ``owner``."""
    Problems(unmet(*expectations)).raise_all(f"{owner} cannot be built:")
