"""How Lago is reached: its address as people write it, and limits that can work."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.core.lago.values import LagoConnection, normalise_api_base
from jobs.errors import SettingError

LIKE = "Write LAGO_API_BASE like https://api.getlago.com or http://lago-api.lago:3000"


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("https://api.getlago.com", "https://api.getlago.com"),
        (" https://api.getlago.com/\n", "https://api.getlago.com"),
        ("https://api.getlago.com/api/v1", "https://api.getlago.com"),
        ("https://api.getlago.com/API/V1//", "https://api.getlago.com"),
        ("http://lago-api.lago:3000", "http://lago-api.lago:3000"),
        ("https://example.com/billing/api/v1", "https://example.com/billing"),
        ("https://example.com/billing//api/v1", "https://example.com/billing"),
        ("https://example.com/X/api/v1/more", "https://example.com/X/api/v1/more"),
        ("https://example.com/X/X//", "https://example.com/X/X"),
        ("https://example.com/X//api/v1", "https://example.com/X"),
        ("HTTPS://API.getlago.com", "https://api.getlago.com"),
        ("http://[fd00::7]:3000/api/v1", "http://[fd00::7]:3000"),
        ("http://[::1]", "http://[::1]"),
    ],
)
def test_an_address_is_normalised(text: str, base: str) -> None:
    assert normalise_api_base(text) == base


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("http://[hush", "is not a valid URL"),
        ("http://lago:hush", "is not a valid URL"),
        ("http://", "is not a valid URL"),
        ("http://:3000", "is not a valid URL"),
        ("http://la go", "is not a valid URL"),
        ("http://lago/\u202ehush", "is not a valid URL"),
        ("lago.hush.com", "does not start with http:// or https://"),
        ("ftp://lago/hush", "does not start with http:// or https://"),
        ("http://lago?hush", "holds a query or a fragment (? or #)"),
        ("http://lago#hush", "holds a query or a fragment (? or #)"),
        ("http://lago/?", "holds a query or a fragment (? or #)"),
        ("http://lago/#", "holds a query or a fragment (? or #)"),
    ],
)
def test_an_address_that_cannot_work_is_refused_and_not_repeated(text: str, what: str) -> None:
    with pytest.raises(SettingError) as raised:
        normalise_api_base(text)
    assert str(raised.value) == f"LAGO_API_BASE {what}. {LIKE}"
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize("text", ["http://hush@lago", "http://:hush@lago", "http://user:hush@lago", "//hush@lago"])
def test_a_password_in_the_address_is_refused(text: str) -> None:
    with pytest.raises(SettingError) as raised:
        normalise_api_base(text)
    assert str(raised.value) == (
        "LAGO_API_BASE holds a user name or password. Leave it out: Lago's key belongs in LAGO_API_KEY"
    )


@pytest.mark.parametrize("key", ["!", "~", "0f3c-KEY", "!~"])
def test_a_key_of_plain_characters_is_taken_and_never_shown(key: str) -> None:
    connection = LagoConnection("http://lago", key)
    assert connection.api_key == key
    assert "api_key" not in repr(connection)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("", "LAGO_API_KEY is empty. Set it to a key from Lago (Developers > API keys)"),
        *(
            (
                key,
                "LAGO_API_KEY holds a blank, a line break or a character outside ASCII. "
                "Copy the key again, without quotes and without the line break at its end",
            )
            for key in ("a b", "key\n", "\x7f", "klé")
        ),
    ],
)
def test_a_key_that_cannot_stand_in_a_header_is_refused(key: str, message: str) -> None:
    with pytest.raises(SettingError) as raised:
        LagoConnection("http://lago", key)
    assert str(raised.value) == message


@pytest.mark.parametrize("limit", ["concurrency", "page_size", "attempts", "requests_per_second", "timeout_seconds"])
def test_every_limit_is_positive(limit: str) -> None:
    least = 0.5 if limit in {"requests_per_second", "timeout_seconds"} else 1
    LagoConnection("http://lago", "key", **_limits(limit, least))
    with pytest.raises(SettingError) as raised:
        LagoConnection("http://lago", "key", **_limits(limit, 0))
    assert str(raised.value) == "a limit of the Lago connection is zero or negative. Give a positive number"


def _limits(limit: str, number: float) -> dict[str, Any]:
    return {limit: number}
