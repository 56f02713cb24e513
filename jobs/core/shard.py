"""Shards: which subscriptions one of several processes works on.

A subscription's shard is the number in the first eight hexadecimal digits of the SHA-256 of its UTF-8 text, modulo the
number of shards; whoever names none has the empty text. PostgreSQL, ClickHouse and DuckDB compute the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from jobs.core.kinds import ChargeBy
from jobs.core.rules import Rules

MOST_SHARDS = 1000


@dataclass(frozen=True, slots=True)
class Shard:
    """One part of the subscriptions."""

    index: int
    """Which part, from 0."""
    count: int
    """How many parts there are."""

    def has(self, subscription: str | None) -> bool:
        """Tell whether this subscription belongs to the part; None is whoever names none."""
        digest = sha256((subscription or "").encode("utf-8", "surrogatepass")).hexdigest()
        return int(digest[:8], 16) % self.count == self.index


WHOLE = Shard(0, 1)
"""Every subscription."""


@dataclass(frozen=True, slots=True)
class SpendLogShard:
    """Which spend logs belong to a shard, in terms that LiteLLM's database knows."""

    shard: Shard
    """Which subscriptions."""
    charge_by: ChargeBy
    """Which value of a spend log names its source."""
    charge_by_path: tuple[str, ...]
    """The steps into its metadata to that value, if it is there."""
    own_sources: tuple[str, ...] | None
    """The mapping file's source values whose subscriptions are of the shard; None where values are subscriptions."""
    other_sources: tuple[str, ...]
    """Those whose subscriptions are not."""


def spend_log_shard(shard: Shard, rules: Rules) -> SpendLogShard:
    """Return which spend logs belong to the shard under these rules."""
    own: list[str] = []
    other: list[str] = []
    for source, subscription in rules.mapping or ():
        (own if shard.has(subscription) else other).append(source)
    return SpendLogShard(
        shard=shard,
        charge_by=rules.charge_by,
        charge_by_path=tuple(rules.charge_by_path.split(".")) if rules.charge_by_path else (),
        own_sources=None if rules.mapping is None else tuple(own),
        other_sources=tuple(other),
    )


def parse_shard(text: str) -> Shard:
    """Read `i/n`; raise `ValueError` for anything that is no part of up to 1,000."""
    found = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text.strip())
    index, count = (int(group) for group in found.groups()) if found else (0, 0)
    if not index < count <= MOST_SHARDS:
        raise ValueError(f"write i/n with i from 0 and below n, and n up to {MOST_SHARDS}, such as 0/3")
    return Shard(index, count)
