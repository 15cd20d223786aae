"""Tables: units, bounds, repeated values, names and types of columns. NumPy and frames only."""
