"""The door to LiteLLM's PostgreSQL database: one read-only snapshot, and what is read from it."""

from jobs.adapters.litellm_database.inspection import Inspection, open_inspection
from jobs.adapters.litellm_database.spend_logs import SpendLogs, open_spend_logs
from jobs.drivers.postgres import FailedAttempt, Patience, Snapshot, connect

__all__ = [
    "FailedAttempt",
    "Inspection",
    "Patience",
    "Snapshot",
    "SpendLogs",
    "connect",
    "open_inspection",
    "open_spend_logs",
]
