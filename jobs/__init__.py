"""Reconciles LiteLLM's spend logs with the usage events that Lago bills."""

__version__ = "0.1.0"
