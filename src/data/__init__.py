"""Data sets, splits, transforms, cache and checks."""
