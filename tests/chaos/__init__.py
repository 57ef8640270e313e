"""Faults on a schedule: every part is killed or frozen while people act, and everything is accounted for afterwards."""
