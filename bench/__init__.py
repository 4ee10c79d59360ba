"""Measurements of what is promised: `make bench`. One line a figure: name, value, detail."""
