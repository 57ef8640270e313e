"""Races on pairs of people: many clients at once, and a check that each pair went through one order of actions."""
