"""Operators that torch does not have: the selective scan."""

from src.ops.scan import available_backends, selective_scan

__all__ = ["available_backends", "selective_scan"]
