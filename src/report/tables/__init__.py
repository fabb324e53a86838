"""Tables of the report: columns, rows and output formats."""
