"""What strangers can write, generated: spend logs, answers, plans, settings. Each test names what must never happen."""
