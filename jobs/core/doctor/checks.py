"""The doctor's checks: which there are, what each needs before it, and how one ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    """How a check ended."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


class Verdict(NamedTuple):
    """What one check found."""

    status: Status
    """How it ended."""
    found: str
    """What was found, or why it was skipped: one or more sentences, strangers' text in it as it came."""
    remedy: str = ""
    """What to do about it; empty only where nothing is to be done."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the doctor looks at."""

    id: str
    """Its stable name."""
    group: str
    """What it belongs to."""
    asks: str
    """What has to hold, as docs/doctor.md says it."""
    needs: tuple[str, ...] = ()
    """Ids of the checks without which it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A check and what it found."""

    check: Check
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything the doctor found, in the order of `CHECKS`."""

    findings: tuple[Finding, ...]

    def count(self, status: Status) -> int:
        """Return how many checks ended like this."""
        return sum(finding.verdict.status is status for finding in self.findings)

    @property
    def settings_are_wrong(self) -> bool:
        """Tell whether a setting has to be corrected before anything else."""
        return any(
            finding.check.group == SETTINGS and finding.verdict.status is Status.FAIL for finding in self.findings
        )

    def document(self) -> dict[str, object]:
        """Return the diagnosis as JSON: `status`, `counts` by status, and `checks` in order."""
        counts = {status.value: self.count(status) for status in Status}
        worst = next((status for status in ("fail", "warn") if counts[status]), "pass")
        return {
            "status": worst,
            "counts": counts,
            "checks": [
                {
                    "id": finding.check.id,
                    "group": finding.check.group,
                    "status": finding.verdict.status.value,
                    "found": finding.verdict.found,
                    "remedy": finding.verdict.remedy,
                }
                for finding in self.findings
            ],
        }


def passed(found: str) -> Verdict:
    """Return that all is well."""
    return Verdict(Status.PASS, found)


def warned(found: str, remedy: str) -> Verdict:
    """Return that a person should know this, though a run can be believed."""
    return Verdict(Status.WARN, found, remedy)


def failed(found: str, remedy: str) -> Verdict:
    """Return that a run would fail, or bill somebody wrong."""
    return Verdict(Status.FAIL, found, remedy)


SETTINGS, DATABASE, SPEND_LOGS = "Settings", "LiteLLM's database", "Spend logs"
LAGO, EVENTS, HERE = "Lago", "Events", "This machine"

CHECKS = (
    Check("settings-values", SETTINGS, "Every value can be read, and the configuration file has no unknown key."),
    Check(
        "settings-unknown",
        SETTINGS,
        "No variable is misspelled, overruled by another, or without effect.",
    ),
    Check("settings-database", SETTINGS, "The database's host, name and username are set."),
    Check("settings-lago", SETTINGS, "Lago's address and key are set and could be ones."),
    Check("settings-rules", SETTINGS, "The meter and the mapping and alias files can be used."),
    Check(
        "database-name", DATABASE, "The host's name is known here; `host:port` is taken apart.", ("settings-database",)
    ),
    Check("database-reach", DATABASE, "Something listens at the host and port.", ("database-name",)),
    Check("database-login", DATABASE, "The role may log in to the database.", ("database-reach",)),
    Check(
        "database-tables",
        DATABASE,
        'The role may read `"LiteLLM_SpendLogs"`, and it is LiteLLM\'s.',
        ("database-login",),
    ),
    Check(
        "database-schema",
        DATABASE,
        "Which LiteLLM wrote the schema; no rows lie in a table put aside.",
        ("database-tables",),
    ),
    Check(
        "daily-tables", DATABASE, "The role may read LiteLLM's daily tables, where there are any.", ("database-tables",)
    ),
    Check(
        "start-time-index", DATABASE, "A large table has an index that begins with `startTime`.", ("database-tables",)
    ),
    Check("time-zone", SPEND_LOGS, "The newest calls did not end in the future, nor hours ago.", ("start-time-index",)),
    Check("retention", SPEND_LOGS, "Retention leaves the scheduled window whole.", ("start-time-index",)),
    Check(
        "spend-logs-written",
        SPEND_LOGS,
        "LiteLLM writes spend logs while its daily tables count usage.",
        ("start-time-index",),
    ),
    Check(
        "request-ids",
        SPEND_LOGS,
        "No provider repeats ids or gives none, which loses spend logs.",
        ("start-time-index",),
    ),
    Check("attribution", SPEND_LOGS, "Recent spend logs name who pays.", ("start-time-index", "settings-rules")),
    Check(
        "pinned-end-users",
        SPEND_LOGS,
        "LiteLLM is none of those that log a wrong end user for shared keys.",
        ("start-time-index", "settings-rules"),
    ),
    Check("lago-reach", LAGO, "Lago's address is reached, over trusted TLS where it is https.", ("settings-lago",)),
    Check("lago-answers", LAGO, "What answers is Lago's API.", ("lago-reach",)),
    Check("lago-key", LAGO, "Lago knows the key.", ("lago-answers",)),
    Check("lago-permissions", LAGO, "The key may read events, metrics, plans and subscriptions.", ("lago-key",)),
    Check("lago-server", LAGO, "Which event store Lago has, which decides what a duplicate is.", ("lago-permissions",)),
    Check("lago-rate", LAGO, "The configured rate is one that Lago allows.", ("lago-permissions",)),
    Check(
        "metric",
        LAGO,
        "The billable metric exists and bills a property that the meter sends.",
        ("lago-permissions", "settings-rules"),
    ),
    Check("lago-store", LAGO, "Lago's own store can be read, where recorded events are read from it.", ("metric",)),
    Check("charges", LAGO, "A plan charges for the metric, and not in advance.", ("metric",)),
    Check(
        "event-shape",
        EVENTS,
        "Recent events have the properties of the configured meter.",
        ("lago-permissions", "settings-rules"),
    ),
    Check("event-codes", EVENTS, "Recent events name metrics that Lago has.", ("lago-permissions",)),
    Check("event-subscriptions", EVENTS, "Recent events name a subscription.", ("lago-permissions",)),
    Check("event-times", EVENTS, "Recent events do not lie in the future.", ("lago-permissions",)),
    Check(
        "subscriptions-known",
        EVENTS,
        "Lago has the subscriptions of recent spend logs, and they are active.",
        ("attribution", "lago-permissions"),
    ),
    Check("clocks", HERE, "This machine, PostgreSQL and Lago agree on the time."),
    Check("ledger", HERE, "The ledger can be reached and is of a known version.", ("settings-values",)),
    Check("ledger-lock", HERE, "No run holds the lock.", ("ledger",)),
    Check("output-folder", HERE, "The output folder can be written, and its disk has room.", ("settings-values",)),
)


def because(check: Check, verdicts: dict[str, Verdict]) -> Verdict | None:
    """Return why a check is skipped, or None if it can be asked: whatever first failed before it is named."""
    for need in check.needs:
        verdict = verdicts[need]
        if verdict.status is Status.FAIL:
            return Verdict(Status.SKIPPED, f"because {need} failed")
        if verdict.status is Status.SKIPPED:
            return verdict
    return None


def some(names: Sequence[str], most: int = 5) -> str:
    """Return the first few of these names for a sentence, each quoted and short."""
    shown = [f"'{name if len(name) <= 60 else name[:59] + '…'}'" for name in names[:most]]
    return ", ".join(shown) + (" …" if len(names) > most else "")
