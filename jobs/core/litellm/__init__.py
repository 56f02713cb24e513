"""What is known of LiteLLM: its rows, call types and variables (docs/facts/litellm.md). No query is made here."""
