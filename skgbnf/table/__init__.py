"""What a table is: units, intervals, repeated values, names and types. NumPy and frames only."""
