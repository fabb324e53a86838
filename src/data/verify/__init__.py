"""Verify first: everything that is wrong with data sets, before anything is trained on them (`scripts/verify_data.py`)."""
