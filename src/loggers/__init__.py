"""Loggers in addition to the CSV log."""
