"""Archives of data sets, fetched whole and unpacked safely (`scripts/fetch_data.py`)."""
