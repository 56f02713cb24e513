"""Proxies and certificates from this machine's variables, against a real proxy and a real server."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jobs.adapters import webhook
from jobs.adapters.lago.catalogue import read_subscriptions
from jobs.adapters.lago.http import LagoClient, check_access
from jobs.core.lago.values import LagoConnection
from jobs.drivers.web import proxy_for
from jobs.errors import NotAnnouncedError, ReconcileError, SettingError

EMPTY = b'{"events": [], "meta": {}}'


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without a proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith("SSL_CERT_"):
            monkeypatch.delenv(name)


@contextmanager
def answering(answer: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """Listen, give each connection this answer, and keep what each asked first."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(65536))
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], asked
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def http(status: str, body: bytes, content_type: str = "application/json") -> bytes:
    """Return an answer in HTTP."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


def asking(base: str, **others: Any) -> str:
    """Ask Lago once, and return what went wrong on one line, or nothing."""
    said = ""
    try:
        with LagoClient(LagoConnection(base, "k" * 36, attempts=1, timeout_seconds=5, **others)) as client:
            check_access(client)
    except ReconcileError as error:
        said = f"{type(error).__name__}: {error}"
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("excepted", "url", "direct"),
    [
        ("fd00:1234::/64", "http://[fd00:1234::7]:3000", True),
        ("fd00:1234::/64", "http://[fd00:9999::7]:3000", False),
        ("fd00:1234::/64,10.0.0.0/8,.svc,.cluster.local", "http://lago-api.lago.svc:3000", True),
        ("10.0.0.0/8", "http://10.9.8.7", True),
        ("[::1]", "http://[::1]:3000", True),
        ("[::1]:3000", "http://[::1]:3000", True),
        ("[::1]:3001", "http://[::1]:3000", False),
        ("::1", "http://[::1]", True),
        ("lago.example:3000", "http://lago.example:3000", True),
        ("lago.example:443", "http://lago.example:3000", False),
        ("*", "http://lago.example", True),
        ("*.example", "http://lago.example", True),
        ("example", "http://LAGO.example", True),
        ("ample", "http://lago.example", False),
        (" lago.example , other", "http://lago.example", True),
        ("not a:host:at/all", "http://lago.example", False),
        ("", "http://lago.example", False),
    ],
)
def test_what_no_proxy_excepts(monkeypatch: pytest.MonkeyPatch, excepted: str, url: str, direct: bool) -> None:
    """Names, domains, addresses and networks; OpenShift puts its IPv6 networks there."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", excepted)
    assert (proxy_for(url) is None) is direct


@pytest.mark.parametrize("excepted", ["fd00:1234::/64", "[::1]", "::1/128,localhost", "a b:c/d"])
def test_any_no_proxy_leaves_lago_reachable(monkeypatch: pytest.MonkeyPatch, excepted: str) -> None:
    """Whatever stands in it."""
    monkeypatch.setenv("NO_PROXY", excepted)
    with answering(http("200 OK", EMPTY)) as (port, _):
        assert asking(f"http://127.0.0.1:{port}") == ""


def test_a_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own variable, or by ALL_PROXY."""
    with answering(http("200 OK", EMPTY)) as (port, asked):
        for name in ("HTTP_PROXY", "ALL_PROXY"):
            with monkeypatch.context() as changed:
                changed.setenv(name, f"127.0.0.1:{port}")
                assert asking("http://lago.invalid:3000") == ""
    assert [line.split(b"\r\n")[0].split(b"?")[0] for line in asked] == [
        b"GET http://lago.invalid:3000/api/v1/events"
    ] * 2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("HTTP_PROXY", "ftp://user:hush@proxy:21", "HTTP_PROXY begins with ftp://"),
        ("ALL_PROXY", "socks4://proxy:1080", "ALL_PROXY begins with socks4://"),
        ("HTTP_PROXY", "http://proxy:hush", "HTTP_PROXY is not the address of a proxy"),
        ("HTTP_PROXY", "http://", "HTTP_PROXY names no host"),
        ("HTTP_PROXY", "http://[::1", "HTTP_PROXY is not the address of a proxy"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str
) -> None:
    """By its variable, without its password; for Lago and for the webhook."""
    monkeypatch.setenv(name, text)
    said = asking("http://lago.invalid:3000")
    assert said.startswith(f"SettingError: {words}")
    assert "hush" not in said
    with pytest.raises(NotAnnouncedError, match=f"the webhook was not told how this ended: {words}"):
        webhook.post("http://chat.invalid/hook", {})


def test_a_socks_proxy_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is an extra."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.setattr("jobs.drivers.web.importlib.util.find_spec", lambda _: None)
    with pytest.raises(
        SettingError, match=r"ALL_PROXY names a SOCKS proxy.*\[socks\], or add lago.invalid to NO_PROXY"
    ):
        proxy_for("http://lago.invalid")


def test_a_socks_proxy_is_used_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens there, and it is the proxy that is named."""
    pytest.importorskip("socksio")
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    assert "cannot connect to the proxy 127.0.0.1:9 (Connection refused)" in asking("http://lago.invalid:3000")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, content: str | None
) -> None:
    """The variable is named."""
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv(name, str(tmp_path / "ca.pem"))
    assert asking("https://lago.invalid").startswith("SettingError: the file that SSL_CERT_FILE names cannot be used")
    with pytest.raises(NotAnnouncedError, match="SSL_CERT_FILE"):
        webhook.post("https://chat.invalid/hook", {})


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("407 Proxy Authentication Required", r"refused \(407\)\. Write the proxy's user name and password"),
        ("403 Forbidden", r"refused \(403\)\. Check HTTPS_PROXY and what that proxy lets through"),
        ("502 Bad Gateway", r"refused \(502\)\. Check HTTPS_PROXY"),
    ],
)
def test_a_proxy_that_refuses_is_named_as_the_proxy(monkeypatch: pytest.MonkeyPatch, status: str, words: str) -> None:
    """It answers CONNECT, before Lago is asked anything."""
    with answering(http(status, b"no", "text/html")) as (port, _):
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:hush@127.0.0.1:{port}")
        said = asking("https://lago.invalid")
    with pytest.raises(AssertionError, match=f"the proxy 127.0.0.1:{port} {words}"):
        raise AssertionError(said)
    assert "hush" not in said


def test_a_proxy_that_is_not_there_is_named_as_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a plain one that wants a password."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert "cannot connect to the proxy 127.0.0.1:1" in asking("http://lago.invalid")
    with answering(http("407 Proxy Authentication Required", b"no", "text/html")) as (port, _):
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
        assert "a proxy on the way to Lago wants a user name and a password (407)" in asking("http://lago.invalid")


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_refusal_that_is_not_lagos_is_not_blamed_on_the_key(status: str) -> None:
    """An HTML page of a firewall or of Rails; Lago's own are JSON."""
    with answering(http(status, b"<h1>Blocked hosts: lago</h1>", "text/html")) as (port, _):
        said = asking(f"http://127.0.0.1:{port}")
    assert f"what stands before Lago refused the request ({status[:3]}), not Lago. It is not about the key" in said
    own = b'{"status": 401, "error": "Unauthorized", "code": "x"}'
    with answering(http(status, own)) as (port, _):
        assert "LAGO_API_KEY" in asking(f"http://127.0.0.1:{port}")


def test_a_status_and_a_field_that_nobody_knows_yet_fail_nothing() -> None:
    """`incomplete` is asked for, and what else comes is kept as it is."""
    row = {
        "lago_id": "1",
        "external_id": "sub",
        "status": "paused_by_lago",
        "a_new_field": {"deep": [1]},
        "external_customer_id": "c",
        "lago_customer_id": "2",
        "plan_code": "p",
        "billing_time": "calendar",
        "name": "",
        "created_at": "2026-01-01T00:00:00Z",
        "subscription_at": "2026-01-01T00:00:00Z",
        "started_at": None,
        "terminated_at": None,
        "canceled_at": None,
        "previous_plan_code": None,
    }
    answer = {
        "subscriptions": [row],
        "customers": [{"external_id": "c"}],
        "meta": {"next_page": None, "total_count": 1, "new": 1},
        "more": {},
    }
    with (
        answering(http("200 OK", json.dumps(answer).encode())) as (port, asked),
        LagoClient(LagoConnection(f"http://127.0.0.1:{port}", "k" * 36, attempts=1)) as client,
    ):
        found = read_subscriptions(client)
    assert [(each.external_id, each.status) for each in found] == [("sub", "paused_by_lago")]
    assert b"status%5B%5D=incomplete" in asked[0]
