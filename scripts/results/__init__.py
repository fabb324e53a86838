"""The pages in docs/results: trainings, stored numbers, tables, figures."""
