"""Maps into scores, in threads."""
