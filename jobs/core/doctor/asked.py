"""What the doctor is asked to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.core.database.settings import DatabaseSettings
from jobs.core.lago.store import Store
from jobs.core.lago.values import LagoConnection
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.rules import Rules
from jobs.core.window import Window
from jobs.errors import ReconcileError


@dataclass(frozen=True, slots=True)
class DoctorSettings:
    """What is known of the settings; what cannot be used is None, and `problems` says why."""

    problems: Mapping[str, tuple[ReconcileError, ...]]
    """What is wrong, by the id of the check of the group Settings that tells it."""
    misspelled: tuple[tuple[str, str], ...]
    """Variables that do not do what they seem to, each with what there is to know about it."""
    database_host: str | None
    """`DATABASE_HOST` as it stands."""
    database: DatabaseSettings | None
    """LiteLLM's database."""
    clock: SourceClock
    """How to read its times."""
    lago: LagoConnection | None
    """Lago's API."""
    meter: str
    """The configured meter's name."""
    rules: Rules | None
    """How spend logs become expected events."""
    window: Window
    """What a scheduled run would judge now."""
    ledger_url: str
    """Where the ledger is."""
    output: Path
    """Where runs leave their folders."""
    store: Store | None = None
    """Lago's own store, where recorded events are read from it."""
    scratch: Path | None = None
    """Where runs keep their working files, if not in the output folder."""
