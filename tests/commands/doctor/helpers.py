"""The doctor is shown a healthy deployment, and then each fault, on a real PostgreSQL and the Lago stand-in."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import psycopg

from jobs.core.doctor.checks import Diagnosis, Verdict
from jobs.doctor import doctor
from jobs.settings import doctor_settings, survey_settings
from tests.support.backfilling import CODE, Call, Notes, fill_litellm

if TYPE_CHECKING:
    from jobs.playground.lago_standin import Organization


_SECRET = "planted-secret"


def _now() -> datetime:
    return datetime.now(UTC)


def calls(now: datetime) -> list[Call]:
    """Return calls from five days ago, which retention has spared, to a few seconds ago."""
    ages = [timedelta(days=5), timedelta(days=4), *(timedelta(seconds=10 * number + 5) for number in range(8))]
    return [
        Call(f"chatcmpl-{number}", ("alice", "bob")[number % 2], now - age, (100 + number, 40), lost=False)
        for number, age in enumerate(ages)
    ]


@dataclass
class World:
    """A deployment; a fault changes something about it."""

    database_url: str
    organization: Organization
    folder: Path
    environment: dict[str, str]
    open: ExitStack
    database_at: Callable[[str], str]
    now: Callable[[], datetime] = _now
    config: Path | None = None

    is_own: bool = False

    def sql(self, *statements: str) -> None:
        """Change LiteLLM's database, which is one of the world's own from then on."""
        if not self.is_own:
            self.use("1.109")
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def use(self, era: str) -> None:
        """Take a fresh database with the schema of an era, and the same calls."""
        self.database_url, self.is_own = self.database_at(era), True
        fill_litellm(self.database_url, calls(_now()))
        self.environment |= _database(self.database_url)

    def post(self, number: int = 1, **event: Any) -> None:
        """Put events into Lago that came just now."""
        common = {"external_subscription_id": "alice", "code": CODE, "timestamp": _now(), "properties": {}}
        self.organization.insert_events(
            {**common, **event, "transaction_id": f"posted-{event}-{position}"} for position in range(number)
        )

    def reader(self, *grants: str) -> None:
        """Log in as a role that has these grants and no other."""
        self.environment |= {"DATABASE_USERNAME": self.open.enter_context(_role(self.database_url, grants))}
        self.environment |= {"DATABASE_PASSWORD": _SECRET}

    def diagnose(self) -> Diagnosis:
        """Run the doctor, and see that it has told no secret and written nothing to Lago."""
        before = self.organization.events()
        settings = doctor_settings(survey_settings(self.environment, self.config), self.now())
        diagnosis = doctor(settings, Notes(), now=self.now)
        hidden = [self.environment.get("LAGO_API_KEY", ""), _SECRET]
        assert [secret for secret in hidden if secret and secret in repr(diagnosis)] == []
        assert self.organization.events() == before
        assert {request.method for request in self.organization.requests()} <= {"GET"}
        return diagnosis


@contextmanager
def _role(database_url: str, grants: tuple[str, ...]) -> Iterator[str]:
    name = f"reader_{secrets.token_hex(6)}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{_SECRET}'".encode())
        for grant in grants:
            connection.execute(f"{grant} TO {name}".encode())
        yield name
        connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}".encode())


def _database(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {
        "DATABASE_HOST": f"{parts.hostname}:{parts.port or 5432}",
        "DATABASE_NAME": parts.path.removeprefix("/"),
        "DATABASE_USERNAME": unquote(parts.username or ""),
        "DATABASE_PASSWORD": unquote(parts.password or ""),
    }


# Each fault: what is wrong, the check that must tell it, how it ends, and words that must stand in what it says.
Setup = Callable[[World], object]


def told(world: World, check: str) -> Verdict:
    """Return what one check says."""
    return next(finding.verdict for finding in world.diagnose().findings if finding.check.id == check)
