"""What a training consists of: checks, fit, test, and reopening what it has left."""
