"""Figures of the report, drawn by matplotlib without a display."""
