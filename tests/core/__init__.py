"""Tests of `jobs.core`: the decisions, as values in and values out. Whole commands are in tests/commands."""
