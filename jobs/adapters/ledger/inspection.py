"""What the doctor asks of the ledger: its version, and who holds its lock. Nothing is made, migrated or locked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from jobs.adapters.ledger.connection import (
    SETTING,
    LedgerAddress,
    connect_alone,
    connect_read_only,
    explained,
    is_pooled,
    read_address,
)
from jobs.adapters.ledger.lock import file_holders, postgresql_holders
from jobs.adapters.ledger.migrations import LATEST, schema_version
from jobs.errors import LedgerError

_BUSY_TIMEOUT = timedelta(seconds=3)


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """A ledger as it was found."""

    shown: str
    """Where it is, without its password."""
    version: int
    """The version of its tables; 0 where it is yet to be made."""
    latest: int
    """The version that this code makes."""
    holders: tuple[str, ...]
    """Who holds its lock."""
    pooled: bool = False
    """Whether it is reached through a pooler."""


def inspect_ledger(url: str) -> LedgerFacts:
    """Return what is at a ledger's URL; raise an error that says what to change where it cannot be used."""
    address = read_address(url)
    if address.path is None:
        with connect_alone(address, "litellm-lago-reconcile doctor") as connection, explained(address):
            return LedgerFacts(
                address.shown,
                schema_version(connection, address),
                LATEST,
                postgresql_holders(connection),
                is_pooled(connection),
            )
    return _sqlite(address, address.path)


def _sqlite(address: LedgerAddress, path: Path) -> LedgerFacts:
    if not path.exists():
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        if not os.access(folder, os.W_OK):
            raise LedgerError(f"the ledger {path} cannot be made in {folder}", f"Make it writable, or check {SETTING}")
        return LedgerFacts(address.shown, 0, LATEST, ())
    engine = connect_read_only(address, path, _BUSY_TIMEOUT)
    try:
        with explained(address), engine.connect() as connection:
            version = schema_version(connection, address)
    finally:
        engine.dispose()
    return LedgerFacts(address.shown, version, LATEST, tuple(file_holders(path)))
