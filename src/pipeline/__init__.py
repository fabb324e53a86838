"""The steps of a training: checks, fit, test; and reopening its checkpoints later."""
