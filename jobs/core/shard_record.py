"""What a shard writes beside its rows, so that a merge can tell whether its shards belong together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobs.core.litellm.spend_logs import DailyTable, SpendLogsBounds, SpendLogsSchema
from jobs.core.shard import Shard
from jobs.core.window import Window
from jobs.errors import RefusedError

FORMAT = "litellm-lago-shard/1"
_ALIKE = {
    "code_version": "by another version of this job",
    "window": "over another window",
    "rules": "under other rules (meter, attribution, tolerance or policies)",
    "meter": "with other billable metrics in Lago",
    "sources": "from other sources (database, Lago, store or time zone)",
    "shards": "for another number of shards",
    "schema": "from another schema of LiteLLM's tables",
}


@dataclass(frozen=True, slots=True)
class Agreement:
    """What all shards of one run, and the merge, must have in common."""

    code_version: str
    """Version of this product."""
    window: Window
    """What is judged."""
    rules: str
    """Fingerprint of the rules."""
    meter: str
    """Fingerprint of the meter as it is bound to Lago's metrics."""
    sources: str
    """Fingerprint of where both sides are read."""


@dataclass(frozen=True, slots=True)
class ShardRecord:
    """One shard's work."""

    shard: Shard
    """Which part of the subscriptions."""
    agreement: Agreement
    """What it was asked."""
    now: datetime
    """When it began: what had settled by then is judged as settled."""
    schema: SpendLogsSchema
    """The spend-log table that was found."""
    bounds: SpendLogsBounds
    """Its first and last times."""
    legacy_rows: int | None
    """The window's rows in the table that partitioning has put aside; None where it may not be read."""
    dead_letters: int = 0
    """Events of the shard that Lago accepted and will never bill, where the source tells."""

    def document(self) -> dict[str, Any]:
        """Return it as a JSON document."""
        agreed, schema, bounds = self.agreement, self.schema, self.bounds
        return {
            "format": FORMAT,
            "shard": self.shard.index,
            "shards": self.shard.count,
            "code_version": agreed.code_version,
            "window": [agreed.window.start.isoformat(), agreed.window.end.isoformat()],
            "rules": agreed.rules,
            "meter": agreed.meter,
            "sources": agreed.sources,
            "now": self.now.isoformat(),
            "schema": {
                "columns": sorted(schema.columns),
                "primary_key": list(schema.primary_key),
                "partitioned": schema.partitioned,
                "has_start_time_index": schema.has_start_time_index,
                "legacy_table_exists": schema.legacy_table_exists,
                "legacy_table_readable": schema.legacy_table_readable,
                "daily_tables": sorted(table.value for table in schema.daily_tables),
                "unreadable_daily_tables": sorted(table.value for table in schema.unreadable_daily_tables),
                "server_version": schema.server_version,
                "on_standby": schema.on_standby,
            },
            "bounds": {
                name: None if instant is None else instant.isoformat()
                for name in ("oldest_start", "oldest_end", "newest_start", "newest_end")
                for instant in (getattr(bounds, name),)
            },
            "legacy_rows": self.legacy_rows,
            "dead_letters": self.dead_letters,
        }


def read_record(document: Any, where: str) -> ShardRecord:
    """Return the record in this document; raise `RefusedError` where it is none."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _no_shard(where)
    try:
        schema: Mapping[str, Any] = document["schema"]
        start, end = map(datetime.fromisoformat, document["window"])
        texts = {name: str(document[name]) for name in ("code_version", "rules", "meter", "sources")}
        return ShardRecord(
            shard=Shard(int(document["shard"]), int(document["shards"])),
            agreement=Agreement(window=Window(start, end), **texts),
            now=datetime.fromisoformat(document["now"]),
            schema=SpendLogsSchema(
                columns=frozenset(schema["columns"]),
                primary_key=tuple(schema["primary_key"]),
                partitioned=schema["partitioned"],
                has_start_time_index=schema["has_start_time_index"],
                legacy_table_exists=schema["legacy_table_exists"],
                legacy_table_readable=schema["legacy_table_readable"],
                daily_tables=frozenset(map(DailyTable, schema["daily_tables"])),
                unreadable_daily_tables=frozenset(map(DailyTable, schema["unreadable_daily_tables"])),
                estimated_rows=None,
                server_version=schema["server_version"],
                on_standby=schema["on_standby"],
            ),
            bounds=SpendLogsBounds(
                **{
                    name: None if text is None else datetime.fromisoformat(text)
                    for name, text in document["bounds"].items()
                }
            ),
            legacy_rows=document["legacy_rows"],
            dead_letters=int(document["dead_letters"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _no_shard(where) from error


def checked_shards(records: Mapping[str, ShardRecord], asked: Agreement) -> Sequence[str]:
    """Return the shards' names in order; raise `RefusedError` unless they are all the shards of one run as asked.

    `asked` is what the merge itself would ask; its window is not compared, since a merge takes that of its shards.
    """
    ordered = sorted(records, key=lambda name: records[name].shard.index)
    first = records[ordered[0]]
    for name in ordered:
        found = _unlike(records[name], first, asked)
        if found is not None:
            raise RefusedError(
                f"{name} was made {_ALIKE[found]} than {'what is set now' if found in _SET else ordered[0]}",
                "Run all shards of one run, and the merge, with the same version, window and settings",
            )
    count, seen = first.shard.count, Counter(record.shard.index for record in records.values())
    repeated = sorted(index for index, times in seen.items() if times > 1)
    missing = sorted(set(range(count)) - seen.keys())
    for what, indexes in (("twice", repeated), ("not", missing)):
        if indexes:
            listed = ", ".join(f"{index}/{count}" for index in indexes[:10])
            raise RefusedError(f"shard {listed} is {what} there", "Give each shard's folder once")
    return ordered


_SET = ("code_version", "rules", "meter", "sources")


def _unlike(record: ShardRecord, first: ShardRecord, asked: Agreement) -> str | None:
    """Return the first thing in which a shard differs from what is set now or from the first shard."""
    for name in _SET:
        if getattr(record.agreement, name) != getattr(asked, name):
            return name
    if record.agreement.window != first.agreement.window:
        return "window"
    if record.shard.count != first.shard.count:
        return "shards"
    return None if record.schema == first.schema else "schema"


def _no_shard(where: str) -> RefusedError:
    return RefusedError(f"{where} is not what a shard leaves behind", "Give the folders that `reconcile --shard` made")
