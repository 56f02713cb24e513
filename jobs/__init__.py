"""Reconciles LiteLLM's spend logs with the usage events that Lago bills."""
