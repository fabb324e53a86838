"""A multirun as one table: its jobs, their groups, and the comparison with the reference."""
