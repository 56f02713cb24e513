"""Worlds as folders, with the files that a run must leave of them. tests/support/scenario.py says what they hold."""
