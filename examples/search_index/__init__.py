"""A search over people that lives by Kith's facts; README.md beside this file tells how."""
