"""Repeatable measurements, each on parts of its own: `make bench`."""
