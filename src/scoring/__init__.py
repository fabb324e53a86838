"""Score maps in threads."""
