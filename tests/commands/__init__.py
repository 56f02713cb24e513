"""Each command as its user runs it, from its settings to its exit code."""
