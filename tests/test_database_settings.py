"""The DATABASE_* variables of LiteLLM deployments, as they come."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobs.core.database_settings import DatabaseSettings, database_settings
from jobs.core.spend_log_values import SourceClock
from jobs.errors import SettingError

HOSTILE = "p@ss/w?rd#[1]:%41 +é"
HOSTILE_ENCODED = "p%40ss%2Fw%3Frd%23%5B1%5D%3A%2541%20+%C3%A9"


def parts(host: str = "db", **others: str | None) -> DatabaseSettings:
    """Return the settings of the four variables, with some replaced."""
    usual: dict[str, str | None] = {"name": "litellm", "username": "reader", "password": "hush"}
    return database_settings(host, **{**usual, **others})


@pytest.mark.parametrize(
    ("host", "expected", "address"),
    [
        ("db", ("db", 5432), "db:5432"),
        ("postgresql.database.svc.cluster.local:5432", ("postgresql.database.svc.cluster.local", 5432), None),
        ("db:6543", ("db", 6543), "db:6543"),
        ("db:", ("db", 5432), "db:5432"),
        (" db:6543\n", ("db", 6543), "db:6543"),
        ("10.0.0.7:6543", ("10.0.0.7", 6543), None),
        ("[::1]:6543", ("::1", 6543), "[::1]:6543"),
        ("[fd00::7]", ("fd00::7", 5432), "[fd00::7]:5432"),
        ("fd00::7", ("fd00::7", 5432), "[fd00::7]:5432"),
        ("/var/run/postgresql", ("/var/run/postgresql", 5432), None),
    ],
)
def test_host_with_or_without_port(host: str, expected: tuple[str, int], address: str | None) -> None:
    """DATABASE_HOST may hold host:port, and IPv6 in brackets."""
    settings = parts(host)
    assert (settings.host, settings.port) == expected
    assert address is None or settings.address == address


def test_parts_keep_any_password_and_win_over_the_url() -> None:
    """A password goes in as it is, and a URL that such a password broke is not looked at."""
    settings = parts(password=HOSTILE, url=f"postgresql://reader:{HOSTILE}@elsewhere/other", schema=" gateway\n")
    assert (settings.host, settings.name, settings.username) == ("db", "litellm", "reader")
    assert (settings.password, settings.schema, settings.origin) == (HOSTILE, "gateway", "DATABASE_HOST")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "POSTGRES"])
def test_url_is_decoded(scheme: str) -> None:
    """Every scheme that LiteLLM, Prisma and SQLAlchemy write is understood, percent-encoding included."""
    settings = database_settings(url=f"{scheme}://re%40der:{HOSTILE_ENCODED}@[::1]:6543/lite%2Fllm")
    assert (settings.host, settings.port, settings.name) == ("::1", 6543, "lite/llm")
    assert (settings.username, settings.password, settings.origin) == ("re@der", HOSTILE, "DATABASE_URL")


def test_url_parameters_are_understood_or_dropped() -> None:
    """`schema` becomes the search path, what only Prisma knows goes, what libpq knows stays."""
    settings = database_settings(
        url="postgresql://u:p@h/d?schema=gate%20way&connection_limit=10&pool_timeout=20&pgbouncer=true"
        "&socket_timeout=5&connect_timeout=7&sslmode=require&statement_cache_size=0"
    )
    assert settings.schema == "gate way"
    assert settings.parameters == (("connect_timeout", "7"), ("sslmode", "require"))


def test_schema_setting_wins_over_the_url() -> None:
    """DATABASE_SCHEMA is the more explicit of the two."""
    assert database_settings(url="postgresql://u:p@h/d?schema=a", schema="b").schema == "b"


def test_prisma_certificate_is_an_authority() -> None:
    """Prisma's `sslcert` is what libpq calls `sslrootcert`, unless it comes with a key."""
    prisma = database_settings(url="postgresql://u:p@h/d?sslcert=ca.pem&sslaccept=strict")
    libpq = database_settings(url="postgresql://u:p@h/d?sslcert=me.pem&sslkey=me.key")
    assert prisma.parameters == (("sslrootcert", "ca.pem"),)
    assert libpq.parameters == (("sslcert", "me.pem"), ("sslkey", "me.key"))


def test_url_may_name_its_parts_as_parameters() -> None:
    """The way libpq names a socket folder."""
    settings = database_settings(url="postgresql:///litellm?host=/run/postgresql&user=reader&port=6543")
    assert (settings.host, settings.port, settings.username) == ("/run/postgresql", 6543, "reader")
    assert settings.password is None


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["no database", "DATABASE_HOST", "DATABASE_URL"]),
        ({"host": "db"}, ["DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD are not"]),
        ({"host": "db", "name": "n", "username": "u"}, ["DATABASE_PASSWORD is not"]),
        ({"host": "db", "url": "postgresql://u:p@h/d"}, ["DATABASE_NAME", "or unset DATABASE_HOST"]),
        ({"name": "n"}, ["DATABASE_HOST is not set"]),
        ({"username": "u"}, ["DATABASE_HOST is not set"]),
        ({"password": "hush"}, ["DATABASE_HOST is not set"]),
        ({"url": "postgresql://u:hush@/d"}, ["DATABASE_URL names no host"]),
        ({"url": "postgresql://h"}, ["names no database name and username"]),
        ({"url": "mysql://u:hush@h/d"}, ["does not begin with postgresql://"]),
        ({"url": "hush"}, ["does not begin with postgresql://"]),
        ({"url": "prisma://accelerate/?api_key=hush"}, ["Prisma's own proxy"]),
        ({"url": "postgresql://u:hu/sh@h/d"}, ["cannot be taken apart", "Percent-encode"]),
        ({"url": "postgresql://u:hu?sh@h/d"}, ["cannot be taken apart"]),
        ({"url": "postgresql://u:hu#sh@h/d"}, ["cannot be taken apart"]),
        ({"url": "postgresql://u:hu[sh@h/d"}, ["cannot be taken apart"]),
        ({"url": "postgresql://u:hush%FF@h/d"}, ["cannot be taken apart"]),
        ({"url": "postgresql://u:hush%00@h/d"}, ["%00"]),
        ({"url": "postgresql://u:p@h:54x2/d"}, ["DATABASE_URL holds a port that is not a number"]),
        ({"url": "postgresql://u:p@h/d?sslmod=require"}, ["unknown parameter sslmod"]),
        ({"url": "postgresql://u:p@h:1/d", "port": "2"}, ["says port 1 and DATABASE_PORT says 2"]),
        ({"url": "postgresql://u:p@$(DATABASE_HOST)/d"}, ["$(DATABASE_HOST)", "Kubernetes", "earlier"]),
    ],
)
def test_faults_are_named_without_secrets(given: dict[str, str], names: list[str]) -> None:
    """Each fault says what is missing or wrong on one line, and shows neither a password nor a URL."""
    with pytest.raises(SettingError) as raised:
        database_settings(**given)
    message = str(raised.value)
    assert all(name in message for name in names), message
    assert "hu" not in message.replace("hush=", ""), message
    assert "\n" not in message
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("DATABASE_HOST", {"host": "$(DB_HOST):5432"}),
        ("DATABASE_NAME", {"name": "$(DB_NAME)"}),
        ("DATABASE_USERNAME", {"username": "$(DB_USER)"}),
        ("DATABASE_PASSWORD", {"password": "$(DB_PASSWORD)"}),
        ("DATABASE_SCHEMA", {"schema": "$(DB_SCHEMA)"}),
    ],
)
def test_variable_left_by_kubernetes_is_named(setting: str, changed: dict[str, str]) -> None:
    """$(NAME) in a value means that Kubernetes did not know NAME."""
    with pytest.raises(SettingError, match=rf"{setting} still holds \$\(DB_"):
        parts(**changed)


def test_password_may_look_like_a_variable_inside() -> None:
    """Only a password that is nothing but $(NAME) is taken for one that was not replaced."""
    assert parts(password="a$(B)c").password == "a$(B)c"


@pytest.mark.parametrize("host", ["db:port", "db:0", "db:65536", "db:-1", "db: 5432x"])
def test_bad_port_is_refused(host: str) -> None:
    """A port is a number from 1 to 65535."""
    with pytest.raises(SettingError, match="DATABASE_HOST holds a port"):
        parts(host)


@pytest.mark.parametrize("host", ["http://db", "db/litellm", "user@db", "d b", "[::1", ":5432"])
def test_bad_host_is_refused(host: str) -> None:
    """A host is a name or an address, not a URL."""
    with pytest.raises(SettingError, match="DATABASE_HOST holds"):
        parts(host)


def test_text_form_shows_no_secret() -> None:
    """Neither the password nor a certificate's password can slip into a log."""
    settings = database_settings(url="postgresql://u:hush@h/d?sslpassword=quiet")
    assert "hush" not in repr(settings)
    assert "quiet" not in repr(settings)
    assert "hush" not in f"{settings}"


def test_cut_over_needs_a_time_zone() -> None:
    """An instant without a zone would be read differently on each machine."""
    with pytest.raises(SettingError, match="has no time zone"):
        SourceClock("Asia/Seoul", datetime(2025, 2, 10))  # noqa: DTZ001 - what is refused
    since = datetime.fromisoformat("2025-02-10T09:00:00+09:00")
    assert SourceClock("Asia/Seoul", since).utc_since == datetime(2025, 2, 10, tzinfo=UTC)
