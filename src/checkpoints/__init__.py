"""Checkpoints and weights: reading, rebuilding, upgrading, writing."""
