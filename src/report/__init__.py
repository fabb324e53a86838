"""The report of a test: tables, figures, statistics, and one page with all of them."""
