"""The command line: arguments to settings, one use case, an exit code. It prints and never decides."""

from jobs.cli import billing, looking, playing  # each adds its commands to the group
from jobs.cli.group import cli, main

__all__ = ["billing", "cli", "looking", "main", "playing"]
