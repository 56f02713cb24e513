"""Lago, over its HTTP API: `http` is the one door, `events` and `catalogue` read through it."""
