"""What no output may hold, and what no source may do; see `docs/threat-model.md`."""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

import pytest
import trustme

from jobs.adapters.lago.http import LagoClient, check_access
from jobs.core.lago.values import LagoConnection
from jobs.errors import LagoError
from tests.support.backfilling import fill_litellm, new_organization, some_calls
from tests.support.command_runner import run_command
from tests.support.scripted_server import Scripted, scripted_server
from tests.support.twins import deep_but

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn

CHECKOUT = Path(__file__).parents[2]
KEY, PASSWORD, LEDGER_PASSWORD = "planted-key", "planted-pass@/word", "planted-ledger"
PLANTED = ("planted", quote(PASSWORD, safe=""))
CALLS = some_calls(9, lost=(1, 5))
WINDOW = ("--from", "2025-11-10T12:00:00Z", "--to", "2025-11-10T14:00:00Z")
NOWHERE = "127.0.0.1:1"


def parts(host: str, name: str = "litellm") -> dict[str, str]:
    """Return where the spend logs are, with a planted password."""
    return {
        "DATABASE_HOST": host,
        "DATABASE_NAME": name,
        "DATABASE_USERNAME": "reader",
        "DATABASE_PASSWORD": PASSWORD,
    }


def outputs(environment: Mapping[str, str], folder: Path, breaks_at: str | None = None) -> tuple[int, str]:
    """Run `reconcile --apply`; return its exit code and everything it put out and left, traces of errors included."""
    defaults = {
        "PATH": "",
        "LAGO_API_BASE": f"http://{NOWHERE}",
        "LAGO_API_KEY": KEY,
        "LAGO_API_EVENT_CODE": "llm_tokens",
        "RECONCILE_OUTPUT": str(folder / "runs"),
        "RECONCILE_CONNECT_ATTEMPTS": "1",
        "RECONCILE_LAGO_ATTEMPTS": "1",
        "RECONCILE_LAGO_RATE": "1000",
        "RECONCILE_VERIFY_WITHIN": "1s",
        "SSL_CERT_DIR": str(folder),
    }
    ended = run_command({**defaults, **environment}, ("reconcile", "--apply", *WINDOW), folder, breaks_at=breaks_at)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return ended.code, "\n".join(f"{path} {path.read_bytes().decode('utf-8', 'replace')}" for path in files)


def assert_nothing_planted(text: str, secrets: tuple[str, ...] = PLANTED) -> None:
    """Assert that no part of any secret stands there."""
    for secret in secrets:
        at = text.find(secret)
        assert at < 0, f"a secret in: …{text[max(0, at - 200) : at + 60]}…"


FAILURES: dict[str, dict[str, str]] = {
    "nothing listens": parts(NOWHERE),
    "no such host": parts("no-such-host.invalid"),
    "a host that is none": parts("a b/c:99999"),
    "password in an unencoded URL": {"DATABASE_URL": f"postgresql://reader:{PASSWORD}@{NOWHERE}/litellm"},
    "password in a URL": {"DATABASE_URL": f"postgresql://reader:{quote(PASSWORD, safe='')}@{NOWHERE}/litellm"},
    "URL with a wrong parameter": {"DATABASE_URL": f"postgresql://reader:planted@{NOWHERE}/litellm?sslmod=planted"},
    "URL of another kind": {"DATABASE_URL": "mysql://reader:planted@h/litellm"},
    "URL with a wrong port": {"DATABASE_URL": "postgresql://reader:planted@h:port/litellm"},
    "key with a blank": {**parts(NOWHERE), "LAGO_API_KEY": "planted key"},
    "key in the base": {**parts(NOWHERE), "LAGO_API_BASE": "http://planted:planted@lago"},
    "key in the query": {**parts(NOWHERE), "LAGO_API_BASE": "http://lago?key=planted"},
    "base that is none": {**parts(NOWHERE), "LAGO_API_BASE": "http://planted:planted@[::1"},
    "ledger nowhere": {**parts(NOWHERE), "RECONCILE_LEDGER_URL": f"postgresql://u:{LEDGER_PASSWORD}@{NOWHERE}/l"},
    "ledger of another kind": {**parts(NOWHERE), "RECONCILE_LEDGER_URL": f"mysql://u:{LEDGER_PASSWORD}@h/l"},
    "ledger that is none": {**parts(NOWHERE), "RECONCILE_LEDGER_URL": f"u:{LEDGER_PASSWORD}@h"},
    "ledger with a wrong port": {**parts(NOWHERE), "RECONCILE_LEDGER_URL": f"postgresql://u:{LEDGER_PASSWORD}@h:x/l"},
}


@pytest.mark.parametrize(
    "name", deep_but(FAILURES, "nothing listens", "password in a URL", "key in the base", "ledger nowhere")
)
def test_no_secret_leaves_a_run_that_never_begins(name: str, tmp_path: Path) -> None:
    code, put_out = outputs(FAILURES[name], tmp_path)
    assert code in {1, 2}
    assert "error: " in put_out
    assert "Traceback" not in put_out
    assert_nothing_planted(put_out)


@pytest.mark.parametrize("status", deep_but([200, 400, 401, 403, 404, 422, 451, 500], 401, 500))
def test_no_secret_comes_back_with_an_answer(status: int, tmp_path: Path) -> None:
    """A proxy that shows what it was sent shows the key."""
    body = f'{{"code": "x {KEY}", "error": "{KEY}", "error_details": {{"Authorization": ["Bearer {KEY}"]}}}}'
    with scripted_server(lambda path, parameters: Scripted(body.encode(), status)) as base:
        code, put_out = outputs({**parts(NOWHERE), "LAGO_API_BASE": base}, tmp_path)
    assert code == 1
    assert "error: " in put_out
    assert_nothing_planted(put_out)


def test_no_secret_comes_back_through_lago_python_client(tmp_path: Path) -> None:
    def answer(path: str, parameters: Mapping[str, str]) -> Scripted:
        if path.endswith(("/events", "/organizations")):
            return Scripted(b'{"events": [], "meta": {}, "organization": {"events_store": "postgres"}}')
        return Scripted(f'{{"code": "{KEY}", "error_details": "{KEY}"}}'.encode(), 422)

    with scripted_server(answer) as base:
        code, put_out = outputs({**parts(NOWHERE), "LAGO_API_BASE": base}, tmp_path)
    assert code == 1
    assert "HTTP 422" in put_out
    assert_nothing_planted(put_out)


@pytest.mark.parametrize(
    "breaks_at",
    [
        None,
        pytest.param("plan: written", marks=pytest.mark.deep),
        pytest.param("intents: written", marks=pytest.mark.deep),
        pytest.param("verify: begin", marks=pytest.mark.deep),
    ],
    ids=str,
)
def test_no_secret_is_in_what_a_run_leaves(
    breaks_at: str | None, litellm_database: str, standin: LagoStandIn, tmp_path: Path
) -> None:
    """The output folder and the ledger of a run that ends well, and the trace of one that ends as nobody foresaw."""
    fill_litellm(litellm_database, CALLS)
    organization = new_organization(standin, CALLS)
    environment = {
        "DATABASE_URL": litellm_database,
        "LAGO_API_BASE": organization.api_base,
        "LAGO_API_KEY": organization.api_key,
    }
    code, put_out = outputs(environment, tmp_path, breaks_at)
    assert code == (0 if breaks_at is None else 1)
    assert ("Traceback" in put_out) == (breaks_at is not None)
    assert "ledger.sqlite" in put_out
    password = urlsplit(litellm_database).password
    assert_nothing_planted(put_out, (organization.api_key, *([unquote(password)] if password else [])))


# The beginning of a statement; a sentence that a person reads has a blank and a small letter after its first word.
_STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|COPY|CREATE|ALTER|DROP|TRUNCATE|GRANT)\s+[^a-z]")
# Statements without a value in them, and why they are no file under sql/.
_ALLOWED = {
    ("drivers/copying.py", "COPY ("): "wraps a query of sql/, whose values stay bound",
    ("demo.py", "CREATE DATABASE"): "two constants",
    ("adapters/ledger/tables.py", "CREATE FUNCTION"): "the ledger's own tables, made of constants",
    ("adapters/ledger/tables.py", "CREATE TRIGGER"): "the ledger's own tables, made of constants",
    ("drivers/postgres.py", "GRANT SELECT on"): "advice to a person",
}


def _texts(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """Yield (line, text, whether it is put together) of every text in a source."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            first = node.values[0] if node.values else None
            if isinstance(first, ast.Constant):
                yield node.lineno, str(first.value), True
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.lineno, node.value, False


def test_sql_stands_in_files_and_its_values_are_bound() -> None:
    found = []
    for path in sorted((CHECKOUT / "jobs").rglob("*.py")):
        name = path.relative_to(CHECKOUT / "jobs").as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for line, text, _ in _texts(tree):
            allowed = any(name == file and text.lstrip().startswith(begin) for file, begin in _ALLOWED)
            if _STATEMENT.match(text) and not allowed:
                found.append(f"jobs/{name}:{line}: {text.strip()[:60]}")
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute) or not call.args:
                continue
            if call.func.attr not in {"execute", "executemany", "copy", "stream", "sql", "exec_driver_sql"}:
                continue
            put_together = isinstance(call.args[0], ast.JoinedStr | ast.BinOp) or (
                isinstance(call.args[0], ast.Call)
                and isinstance(call.args[0].func, ast.Attribute)
                and call.args[0].func.attr in {"format", "join", "replace"}
            )
            if put_together:
                found.append(f"jobs/{name}:{call.lineno}: a statement that is put together")
    assert not found, "\n".join(found)


@contextmanager
def tls_server(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve an empty list of events over TLS; give the base URL and the authority's file."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b'{"events": [], "meta": {}}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", str(folder / "authority.pem")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_an_unknown_authority_is_refused_and_a_named_one_is_trusted(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (base, ca_file):
        with (
            LagoClient(LagoConnection(base, KEY, attempts=1)) as client,
            pytest.raises(LagoError, match="certificate is not trusted") as caught,
        ):
            check_access(client)
        assert "CA file" in str(caught.value)
        with LagoClient(LagoConnection(base, KEY, attempts=1, ca_file=ca_file)) as client:
            check_access(client)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path) -> None:
    with tls_server(tmp_path) as (base, ca_file):
        other = base.replace("127.0.0.1", "localhost")
        with (
            LagoClient(LagoConnection(other, KEY, attempts=1, ca_file=ca_file)) as client,
            pytest.raises(LagoError, match="certificate is not trusted"),
        ):
            check_access(client)


def test_verification_cannot_be_switched_off() -> None:
    """No source tells an HTTP client to trust everybody."""
    found = []
    for path in sorted((CHECKOUT / "jobs").rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(call, ast.keyword) and call.arg in {"verify", "check_hostname"}:
                value = call.value
                if isinstance(value, ast.Constant) and not value.value:
                    found.append(f"{path}:{value.lineno}")
            if isinstance(call, ast.Attribute) and call.attr in {"CERT_NONE", "_create_unverified_context"}:
                found.append(f"{path}:{call.lineno}")
    assert not found, "\n".join(found)
