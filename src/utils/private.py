"""Every private attribute of another library that this project touches, in one place: a new release may move them without notice.

Torch and Lightning are imported inside the functions, as commands that only report a mistake start without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omegaconf import Container


def root_of(node: Container) -> Container:
    """Return the configuration that a node is part of."""
    return node._get_root()
