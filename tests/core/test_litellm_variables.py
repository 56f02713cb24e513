"""LiteLLM's variables about its database: each has its effect, or is told to have none; the order is LiteLLM's."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import pytest

from jobs.core.database.settings import DatabaseSettings, store_settings
from jobs.core.litellm.variables import READ, WITHOUT_EFFECT, chosen_database
from jobs.errors import SettingError
from jobs.settings import load_settings
from jobs.settings.sources import given_database

PARTS = {
    "DATABASE_HOST": "127.0.0.1",
    "DATABASE_PORT": "55432",
    "DATABASE_USER": "reader",
    "DATABASE_PASSWORD": "hush",
    "DATABASE_NAME": "litellm",
}
# What LiteLLM's charts give its containers, `$(…)` already replaced as Kubernetes does.
# LiteLLM sets it itself, for its own worker processes.
_OF_ITS_OWN_POOLER = "LITELLM_PGBOUNCER_POOLED_DATABASE_URL"
CHARTS = json.loads((Path(__file__).parents[1] / "data" / "litellm_charts.json").read_text(encoding="utf-8"))


def chosen(**environment: str) -> tuple[DatabaseSettings, list[str]]:
    """Return what these variables say and what is noted about them."""
    settings = load_settings(environment)
    return chosen_database(given_database(settings.values))[0], list(settings.notes)


def test_parts_of_the_newer_chart_connect_as_they_are() -> None:
    """The port is no longer overlooked."""
    settings, notes = chosen(**PARTS)
    assert (settings.address, settings.username, settings.name) == ("127.0.0.1:55432", "reader", "litellm")
    assert settings.password == "hush"
    assert not notes


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart["chart"])
def test_the_variables_of_both_charts_work_unchanged(chart: dict[str, Any]) -> None:
    """Nothing of them is refused, and nothing is noted."""
    settings, notes = chosen(**chart["env"])
    assert {
        "address": settings.address,
        "name": settings.name,
        "username": settings.username,
        "password": settings.password,
        "schema": settings.schema,
        "parameters": dict(settings.parameters),
        "iam_token": settings.iam_token,
    } == chart["means"]
    assert not notes


def test_a_password_may_be_absent() -> None:
    """With trust, a certificate, or the proxy of a cloud."""
    settings, _ = chosen(**{**PARTS, "DATABASE_PASSWORD": ""})
    assert settings.password is None


def test_tls_of_the_parts() -> None:
    """An authority alone means that the server is to be verified."""
    settings, _ = chosen(**PARTS, DATABASE_SSLMODE="require")
    assert settings.parameters == (("sslmode", "require"),)
    settings, _ = chosen(**PARTS, DATABASE_SSLROOTCERT="/ca.pem")
    assert settings.parameters == (("sslmode", "verify-full"), ("sslrootcert", "/ca.pem"))


def test_the_url_wins_and_every_difference_is_told() -> None:
    """A host without a port means 5432 there, which the URL does not."""
    url = "postgresql://reader:hush@127.0.0.1:55432/litellm?schema=gateway&sslmode=require"
    settings, notes = chosen(**{**PARTS, "DATABASE_PORT": ""}, DATABASE_URL=url)
    assert (settings.address, settings.schema) == ("127.0.0.1:55432", "gateway")
    assert notes == [
        "the port of DATABASE_HOST differs from DATABASE_URL, which LiteLLM goes by, and so does this job: leave out "
        "the one or the other"
    ]
    other = {name: f"x{text}" for name, text in PARTS.items() if name != "DATABASE_PORT"}
    _, notes = chosen(**other, DATABASE_PORT="55432", DATABASE_SSLMODE="disable", DATABASE_URL=url)
    assert notes[0].startswith(
        "DATABASE_HOST, DATABASE_NAME, DATABASE_USER, DATABASE_PASSWORD and DATABASE_SSLMODE differ from DATABASE_URL"
    )
    assert "hush" not in notes[0]


def test_the_replica_is_read_where_there_is_one() -> None:
    """By its URL, or by its host with the primary's other parts."""
    settings, notes = chosen(**PARTS, DATABASE_URL_READ_REPLICA="postgresql://r:h@replica/litellm")
    assert (settings.address, settings.origin) == ("replica:5432", "DATABASE_URL_READ_REPLICA")
    assert not notes
    settings, notes = chosen(**PARTS, DATABASE_HOST_READ_REPLICA="replica", DATABASE_USER_READ_REPLICA="r")
    assert (settings.address, settings.username, settings.password) == ("replica:55432", "r", "hush")
    assert settings.names.username == "DATABASE_USER_READ_REPLICA"
    assert settings.names.password == "DATABASE_PASSWORD"
    assert not notes


def test_the_direct_url_is_the_last_resort() -> None:
    """Beside another address it only serves LiteLLM's migrations, and that is told."""
    assert chosen(DIRECT_URL="postgresql://u:p@direct/d")[0].address == "direct:5432"
    settings, notes = chosen(**PARTS, DIRECT_URL="postgresql://u:p@direct/d")
    assert settings.address == "127.0.0.1:55432"
    assert notes == ["DIRECT_URL has no effect here: LiteLLM migrates through it, and DATABASE_HOST is read here"]


def test_two_names_of_the_role() -> None:
    """LiteLLM looks at DATABASE_USER first."""
    settings, notes = chosen(**PARTS, DATABASE_USERNAME="other")
    assert settings.username == "reader"
    assert notes == [
        "DATABASE_USERNAME has no effect here: it differs from DATABASE_USER, which LiteLLM looks at first"
    ]


def test_tokens_come_before_a_url() -> None:
    """LiteLLM writes its URL anew from the parts then; a URL without parts and without a password takes one too."""
    url = "postgresql://r@rds:5432/litellm"
    settings, notes = chosen(**PARTS, DATABASE_URL=url, IAM_TOKEN_DB_AUTH="True", AWS_REGION_NAME="eu-north-1")
    assert (settings.address, settings.iam_token, settings.password) == ("127.0.0.1:55432", True, None)
    assert settings.region == "eu-north-1"
    assert "IAM_TOKEN_DB_AUTH is on" in notes[0]
    settings, _ = chosen(DATABASE_URL=url, IAM_TOKEN_DB_AUTH="1")
    assert (settings.address, settings.iam_token) == ("rds:5432", True)


@pytest.mark.parametrize("name", WITHOUT_EFFECT)
def test_a_variable_without_effect_is_told(name: str) -> None:
    """By name, and why."""
    _, notes = chosen(**PARTS, **{name: "1"})
    assert len(notes) == 1
    assert notes[0].startswith(f"{name} has no effect here: ")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"DATABASE_HOST": "postgresql://h:55432"},
            "DATABASE_HOST begins with postgresql://, and a host has",
        ),
        ({"DATABASE_PORT": "abc"}, "DATABASE_PORT holds a port that is not a number"),
        ({"DATABASE_PORT": "tcp://10.0.0.1:5432"}, "DATABASE_PORT holds an address, as Kubernetes sets it"),
        ({"DATABASE_HOST": "h:1"}, "DATABASE_HOST names port 1 and DATABASE_PORT another"),
        ({"DATABASE_HOST": "/run/a:1"}, "DATABASE_HOST names port 1 and DATABASE_PORT another"),
        ({"DATABASE_HOST": "h1,,h2"}, "DATABASE_HOST holds no usable host name"),
        ({"DATABASE_PORT": "1,2"}, "DATABASE_PORT names 1 hosts and 2 ports"),
        ({"DATABASE_USER": ""}, "DATABASE_USERNAME is not"),
    ],
)
def test_wrong_parts_are_named(changed: dict[str, str], words: str) -> None:
    """Each by its own variable."""
    with pytest.raises(SettingError, match=re.escape(words)):
        chosen(**{**PARTS, **changed})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("postgresql://u:p@h1:1,h2:55432/db?target_session_attrs=any", "h1:1,h2:55432"),
        ("postgresql://u:p@/db?host=h1,h2&port=1,55432", "h1:1,h2:55432"),
        ("postgresql://u:p@h1,h2/db?port=6", "h1:6,h2:6"),
        ("postgresql://u:p@[::1]:5,h2/db", "[::1]:5,h2:5432"),
        ("postgresql://u:p@/db?host=/run/a,h2", "/run/a:5432,h2:5432"),
        ("postgresql://u:p@%2Frun%2Fa:6543/db", "/run/a:6543"),
        ("postgresql://u:p@/db?host=/cloudsql/project:region:name", "/cloudsql/project:region:name:5432"),
    ],
)
def test_several_hosts(url: str, address: str) -> None:
    """As libpq writes them, for LiteLLM's database and for Lago's store."""
    assert chosen(DATABASE_URL=url)[0].address == address
    assert store_settings(url).address == address
    assert chosen(**{**PARTS, "DATABASE_HOST": address, "DATABASE_PORT": ""})[0].address == address


def test_a_parameter_that_postgresql_does_not_know_is_left_out_and_told() -> None:
    """Prisma ignores it, and the Secret is shared."""
    settings, notes = chosen(DATABASE_URL="postgresql://u:p@h/d?sslmod=require&connection_limit=1&b=hush")
    assert settings.parameters == ()
    words = "has b and sslmod, which is no parameter of PostgreSQL and is left out"
    assert notes == [f"DATABASE_URL {words}"]
    url = "postgresql://u:p@h/d?sslmod=require&b=hush"
    notes = list(load_settings({"RECONCILE_LEDGER_URL": url, "RECONCILE_LAGO_STORE_URL": url}).notes)
    assert notes == [f"RECONCILE_LAGO_STORE_URL {words}", f"RECONCILE_LEDGER_URL {words}"]


@pytest.mark.deep
def test_litellm_reads_no_other_variable_about_its_database() -> None:
    """A newer LiteLLM that adds one fails here: give it its effect, or say why it has none."""
    words = re.compile(
        r"""["']((?:LITELLM_PGBOUNCER_[A-Z_]*)?DATABASE_[A-Z_]*[A-Z]|DIRECT_URL|[A-Z_]*(?:TOKEN_DB|POSTGRES[A-Z]*)_AUTH)["']"""
    )
    found = set()
    for package in ("litellm.proxy", "litellm_proxy_extras", "litellm.secret_managers"):
        spec = importlib.util.find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for path in Path(folder).rglob("*.py"):
                source = path.read_bytes()
                if any(word in source for word in (b"DATABASE_", b"DIRECT_URL", b"_AUTH")):  # the pattern is slow
                    found |= set(words.findall(source.decode(errors="replace")))
    assert "DATABASE_URL" in found
    assert found - set(READ) - set(WITHOUT_EFFECT) == {_OF_ITS_OWN_POOLER}


@pytest.mark.deep
def test_litellm_builds_the_same_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own code, beside ours, over the same variables."""
    of_litellm = pytest.importorskip("litellm.proxy.db.db_url_settings")
    environment = {
        "DATABASE_HOST": "db",
        "DATABASE_PORT": "6543",
        "DATABASE_USER": "re@der",
        "DATABASE_NAME": "lite llm",
        "DATABASE_PASSWORD": "p@ss/w?rd#[1]:%41",
        "DATABASE_SCHEMA": "gateway",
        "DATABASE_SSLROOTCERT": "/ca.pem",
        "DATABASE_HOST_READ_REPLICA": "replica",
    }
    for name in READ:
        monkeypatch.delenv(name, raising=False)
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    theirs = urlsplit(of_litellm.DatabaseURLSettings.from_env().build_reader_url())
    ours, _ = chosen(**environment)
    assert (theirs.hostname, theirs.port) == (ours.host, ours.port)
    assert unquote_plus(theirs.username or "") == ours.username
    assert unquote_plus(theirs.password or "") == ours.password
    assert unquote_plus(theirs.path) == f"/{ours.name}"
    assert unquote_plus(theirs.query).split("&") == [
        f"schema={ours.schema}",
        *(f"{name}={text}" for name, text in ours.parameters),
    ]
