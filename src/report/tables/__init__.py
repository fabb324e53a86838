"""Tables of the report: their columns, their rows, and how they are written."""
