"""Saying how a command goes and ended: terminal, verdict line, chat, metrics. Nothing here decides anything."""
