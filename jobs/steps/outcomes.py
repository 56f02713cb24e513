"""`outcomes.csv`: what became of each planned event, as the ledger has it."""

from __future__ import annotations

from pathlib import Path

from jobs.adapters.ledger import Ledger
from jobs.adapters.run_folder import replace_file
from jobs.core.ledger_values import EventRecord
from jobs.core.telling.reports import OUTCOME_COLUMNS, csv_lines

OUTCOMES_FILE = "outcomes.csv"


def write_outcomes(ledger: Ledger, run_id: str, folder: Path) -> None:
    """Put the file in place whole, a row per event that the run meant to send."""
    rows = (_outcome_row(record) for record in ledger.run_events(run_id))
    replace_file(folder / OUTCOMES_FILE, csv_lines(OUTCOME_COLUMNS, rows))


def _outcome_row(record: EventRecord) -> dict[str, str]:
    event = record.event
    return {
        "transaction_id": event.transaction_id,
        "subscription": event.subscription,
        "model": event.model,
        "code": event.code,
        "part": event.part,
        "request_id": event.request_id,
        "timestamp": f"{event.time.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z",
        "quantity": event.quantity,
        "outcome": record.outcome.value if record.outcome else "not_sent",
        "reason": record.outcome_reason,
        "verified": "" if record.verified is None else str(record.verified).lower(),
        "verification": record.verification_reason,
    }
