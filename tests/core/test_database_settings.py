"""The DATABASE_* variables of LiteLLM deployments, as they come."""

from __future__ import annotations

from datetime import datetime

import pytest

from jobs.core.database.settings import DatabaseSettings, store_settings
from jobs.core.litellm.spend_logs import SourceClock
from jobs.core.litellm.variables import chosen_database, database_settings
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
    assert settings.schema is None


def test_parts_keep_any_password_and_stand_in_for_a_url_that_it_broke() -> None:
    """A password goes in as it is, and a URL that such a password broke is told and not used."""
    given = {"host": "db", "name": "litellm", "username": "reader", "password": HOSTILE, "schema": " gateway\n"}
    settings, notes = chosen_database({**given, "url": f"postgresql://reader:{HOSTILE}@elsewhere/other"})
    assert (settings.host, settings.name, settings.username) == ("db", "litellm", "reader")
    assert (settings.password, settings.schema, settings.origin) == (HOSTILE, "gateway", "DATABASE_HOST")
    assert [name for name, _ in notes] == ["DATABASE_URL"]
    assert "cannot be taken apart" in notes[0][1]
    assert "DATABASE_HOST and its companions are used instead" in notes[0][1]
    assert "ss/w" not in notes[0][1]


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


def test_schema_of_the_url_wins() -> None:
    """As LiteLLM has it; a URL that names none leaves it to DATABASE_SCHEMA, which LiteLLM would not look at."""
    settings, notes = chosen_database({"url": "postgresql://u:p@h/d?schema=a", "schema": "b"})
    assert settings.schema == "a"
    assert notes == (
        (
            "DATABASE_SCHEMA",
            "DATABASE_SCHEMA differs from DATABASE_URL, which LiteLLM goes by, and so does this job: "
            "leave out the one or the other",
        ),
    )
    settings, notes = chosen_database({"url": "postgresql://u:p@h/d", "schema": "b"})
    assert settings.schema == "b"
    assert "LiteLLM looks for a schema in DATABASE_URL, which names none" in notes[0][1]


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
    named = database_settings(url="postgresql://?host=db&user=reader&dbname=litellm&password=a%3Db=c")
    assert (named.host, named.port, named.name, named.password) == ("db", 5432, "litellm", "a=b=c")


def test_a_password_may_hold_what_divides_a_url() -> None:
    """The first : ends the username, the last @ the password."""
    settings = database_settings(url="postgresql://reader:a:b@h/d")
    assert (settings.username, settings.password) == ("reader", "a:b")


FOUR = "DATABASE_HOST, DATABASE_NAME, DATABASE_USERNAME and DATABASE_PASSWORD"
OR_PARTS = f", or set {FOUR}, which need no encoding"
UNENCODED = (
    "DATABASE_URL cannot be taken apart: its username or password seems to hold @ / ? # [ or ] unencoded. "
    f"Percent-encode them{OR_PARTS}"
)
NO_HOST = (
    "DATABASE_HOST is not set, though other parts of the connection are. "
    "Set DATABASE_HOST to the host, or host:port, of LiteLLM's PostgreSQL"
)
NO_URL = f"DATABASE_URL does not begin with postgresql://. Correct it{OR_PARTS}"
AS_URL = "Write it as postgresql://USERNAME:PASSWORD@HOST:PORT/NAME"
HAS_HOST = "DATABASE_HOST is set, but"
ALONE = ", or DATABASE_URL alone"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, f"no database is set. Set {FOUR}, or DATABASE_URL, as for LiteLLM"),
        (
            {"host": "db"},
            f"{HAS_HOST} DATABASE_NAME and DATABASE_USERNAME are not. Set DATABASE_NAME and DATABASE_USERNAME{ALONE}",
        ),
        ({"host": "db", "name": "n"}, f"{HAS_HOST} DATABASE_USERNAME is not. Set DATABASE_USERNAME{ALONE}"),
        ({"host": "db", "user": "n"}, f"{HAS_HOST} DATABASE_NAME is not. Set DATABASE_NAME{ALONE}"),
        ({"port": "1"}, NO_HOST),
        ({"name": "n"}, NO_HOST),
        ({"username": "u"}, NO_HOST),
        ({"password": "hush"}, NO_HOST),
        ({"url": "postgresql://u:hush@/d"}, f"DATABASE_URL names no host. {AS_URL}"),
        ({"url": "postgresql://h"}, f"DATABASE_URL names no database name and username. {AS_URL}"),
        ({"url": "mysql://u:hush@h/d"}, NO_URL),
        ({"url": "hush"}, NO_URL),
        ({"url": "postgres"}, NO_URL),
        (
            {"url": "prisma://accelerate/?api_key=hush"},
            f"DATABASE_URL points to Prisma's own proxy, which speaks no PostgreSQL. "
            f"Give PostgreSQL's own address{OR_PARTS}",
        ),
        ({"url": "postgresql://u:hu/sh@h/d"}, UNENCODED),
        ({"url": "postgresql://u:hu?sh@h/d"}, UNENCODED),
        ({"url": "postgresql://u:hu#sh@h/d"}, UNENCODED),
        ({"url": "postgresql://u:hu[sh@h/d"}, UNENCODED),
        (
            {"url": "postgresql://u:hu/sh"},
            "DATABASE_URL holds a port that is not a number from 1 to 65535. Correct the part after the :",
        ),
        ({"url": "postgresql://u@h/hu/sh"}, UNENCODED),
        ({"url": "postgresql://u:hush%FF@h/d"}, UNENCODED),
        ({"url": "postgresql://u:hush%00@h/d"}, "DATABASE_URL holds %00, which PostgreSQL cannot store. Correct it"),
        *(
            (
                {"url": url},
                "DATABASE_URL holds a port that is not a number from 1 to 65535. Correct the part after the :",
            )
            for url in ("postgresql://u:p@h:54x2/d", "postgresql://u:p@h/d?port=0", "postgresql://u:p@h:65536/d")
        ),
        (
            {"url": "postgresql://u:p@$(DATABASE_HOST)/d"},
            "DATABASE_URL still holds $(DATABASE_HOST), which Kubernetes did not replace. Kubernetes replaces it only "
            "by an `env` entry that stands earlier in the same container: move DATABASE_HOST above "
            f"DATABASE_URL{OR_PARTS}",
        ),
    ],
)
def test_faults_are_named_without_secrets(given: dict[str, str], message: str) -> None:
    """Each fault says what is missing or wrong on one line, and shows neither a password nor a URL."""
    with pytest.raises(SettingError) as raised:
        database_settings(**given)
    assert str(raised.value) == message
    assert "hu" not in message
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u%FF:p@h/d",
        "postgresql://u:p%FF@h/d",
        "postgresql://u:p@h%FF/d",
        "postgresql://u:p@h/d%FF",
        "postgresql://u:p@h/d?sslmode=%FF",
        "postgresql://u:p@h/d?ssl%FFmode=1",
    ],
)
def test_whichever_piece_cannot_be_decoded_the_setting_is_named(url: str) -> None:
    """Of the URL of LiteLLM's database and of that of Lago's store."""
    with pytest.raises(SettingError) as raised:
        database_settings(url=url)
    assert str(raised.value) == UNENCODED
    with pytest.raises(
        SettingError, match=r"^RECONCILE_LAGO_STORE_URL cannot be taken apart: .*\. Percent-encode them$"
    ):
        store_settings(url)


def test_a_parameter_may_hold_what_begins_a_url() -> None:
    """Only the first :// ends the scheme."""
    assert database_settings(url="postgresql://u:p@h/d?options=a:%2F%2Fb&passfile=c://").parameters == (
        ("options", "a://b"),
        ("passfile", "c://"),
    )


def test_the_address_of_lagos_store_cannot_be_given_in_parts() -> None:
    """Its messages name its own variable, and do not offer LiteLLM's four."""
    settings = store_settings("postgresql://reader:hush@lago-db/lago")
    assert (settings.host, settings.origin) == ("lago-db", "RECONCILE_LAGO_STORE_URL")
    assert (settings.tables, settings.time_index) == (
        "Lago's table events",
        'events (organization_id, "timestamp")',
    )
    with pytest.raises(SettingError) as raised:
        store_settings("mysql://reader:hush@lago-db/lago")
    assert str(raised.value) == "RECONCILE_LAGO_STORE_URL does not begin with postgresql://. Correct it"
    with pytest.raises(SettingError, match=r"move DB_HOST above RECONCILE_LAGO_STORE_URL$"):
        store_settings("postgresql://reader:hush@$(DB_HOST)/lago")


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


@pytest.mark.parametrize("host", ["db:port", "db:0", "db:65536", "db:-1", "db: 5432x", "db:000080"])
def test_bad_port_is_refused(host: str) -> None:
    """A port is a number from 1 to 65535."""
    with pytest.raises(SettingError) as raised:
        parts(host)
    assert str(raised.value) == (
        "DATABASE_HOST holds a port that is not a number from 1 to 65535. Correct the part after the :"
    )


def test_every_port_there_is_can_be_named() -> None:
    """The first, the last, and one with a blank around it."""
    assert [parts(host).port for host in ("db:1", "db:65535", "db: 80 ")] == [1, 65535, 80]


@pytest.mark.parametrize("host", ["db/litellm", "user@db", "d b", "[::1", ":5432", "d]b", "db/x:1"])
def test_bad_host_is_refused(host: str) -> None:
    """A host is a name or an address, not a URL."""
    with pytest.raises(SettingError) as raised:
        parts(host)
    assert str(raised.value) == (
        "DATABASE_HOST holds no usable host name. Write it as host or host:port, without a scheme"
    )


def test_text_form_shows_no_secret() -> None:
    """Neither the password nor a certificate's password can slip into a log."""
    settings = database_settings(url="postgresql://u:hush@h/d?sslpassword=quiet")
    assert "hush" not in repr(settings)
    assert "quiet" not in repr(settings)
    assert "hush" not in f"{settings}"


def test_cut_over_needs_a_time_zone() -> None:
    """An instant without a zone would be read differently on each machine."""
    with pytest.raises(SettingError) as raised:
        SourceClock("Asia/Seoul", datetime(2025, 2, 10))  # noqa: DTZ001 - what is refused
    assert str(raised.value) == (
        "the source's cut-over to UTC, 2025-02-10T00:00:00, has no time zone. "
        "Write it with one: 2025-02-10T09:30:00+09:00"
    )


@pytest.mark.usefixtures("kathmandu")
def test_a_cut_over_is_kept_in_utc() -> None:
    """Wherever the job runs."""
    since = SourceClock("Asia/Seoul", datetime.fromisoformat("2025-02-10T09:00:00+09:00")).utc_since
    assert since is not None
    assert since.isoformat() == "2025-02-10T00:00:00+00:00"
