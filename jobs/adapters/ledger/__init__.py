"""The append-only ledger of runs, plans and sent events, and the lock that lets one run at a time apply."""

from jobs.adapters.ledger.connection import ledger_file
from jobs.adapters.ledger.inspection import LedgerFacts, inspect_ledger
from jobs.adapters.ledger.ledger import Ledger
from jobs.adapters.ledger.lock import RunLock

__all__ = ["Ledger", "LedgerFacts", "RunLock", "inspect_ledger", "ledger_file"]
