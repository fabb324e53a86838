"""RUN, its parts and its rivals."""
