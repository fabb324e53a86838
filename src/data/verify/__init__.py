"""Verify first: find everything wrong with data sets before anything is trained on them (`scripts/verify_data.py`)."""
