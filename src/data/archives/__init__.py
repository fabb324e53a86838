"""Archives of data sets from elsewhere: fetched whole, unpacked safely (`scripts/fetch_data.py`)."""
