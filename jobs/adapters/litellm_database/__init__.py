"""The door to LiteLLM's PostgreSQL database: one read-only snapshot, and what is read from it."""

from jobs.adapters.litellm_database.inspection import Inspection, open_inspection
from jobs.adapters.litellm_database.spend_logs import SpendLogs, join_spend_logs, open_spend_logs
from jobs.drivers.postgres import FailedAttempt, Patience, Snapshot, connect

__all__ = [
    "FailedAttempt",
    "Inspection",
    "Patience",
    "Snapshot",
    "SpendLogs",
    "connect",
    "join_spend_logs",
    "open_inspection",
    "open_spend_logs",
]
