"""The choice of the tests' own PostgreSQL: what is asked for, or nothing in its place."""

import pytest

from tests.support.postgres_choice import PostgresChoice, UnavailablePostgresError, choose


def _works() -> str:
    return ""


def _refuses() -> str:
    return "no engine answers"


def _must_not_be_asked() -> str:
    raise AssertionError("Docker was asked although the answer does not matter")


def test_embedded_and_a_url_do_not_ask_docker() -> None:
    assert choose("embedded", _must_not_be_asked).kind == "embedded"
    url = "postgresql://me:secret@host/db"
    assert choose(url, _must_not_be_asked) == PostgresChoice("url", url=url)


def test_the_header_tells_no_password() -> None:
    assert "secret" not in choose("postgresql://me:secret@host/db", _works).header


def test_docker_when_asked_for() -> None:
    assert choose("docker", _works).kind == "docker"


def test_docker_asked_for_and_absent_is_an_error_with_the_reason() -> None:
    with pytest.raises(UnavailablePostgresError, match="no engine answers"):
        choose("docker", _refuses)


def test_unset_takes_docker_where_it_works() -> None:
    assert choose("", _works).kind == "docker"


def test_unset_falls_back_and_says_why() -> None:
    assert choose("", _refuses).header == "PostgreSQL: embedded (no Docker: no engine answers)"


@pytest.mark.parametrize("asked", ["Docker", "none", "mysql://host", "host=localhost"])
def test_anything_else_is_an_error(asked: str) -> None:
    with pytest.raises(UnavailablePostgresError, match="must be docker, embedded, or a URL"):
        choose(asked, _must_not_be_asked)
