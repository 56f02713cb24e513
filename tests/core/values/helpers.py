"""The small pure values: identities, names, windows, durations, text, laws."""

from datetime import UTC, datetime, timedelta

from jobs.core.assignment import Tolerance
from jobs.core.kinds import ChargeBy
from jobs.core.meters import preset
from jobs.core.rules import Rules

DAY = datetime(2026, 11, 1, tzinfo=UTC)


RULES = Rules(
    parts=preset("callback", "llm_tokens"),
    charge_by=ChargeBy.END_USER_ID,
    charge_by_path=None,
    tolerance=Tolerance(early_us=5_000_000, late_us=60_000_000),
    settlement_lag=timedelta(hours=2),
    longest_call=timedelta(hours=2),
)
