"""A web server that answers what a test tells it to: for what no Lago would say, and proxies do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Scripted:
    """One answer."""

    body: bytes
    """The whole body."""
    status: int = 200
    """HTTP status code."""
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    """All headers but Content-Length."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request with a body."""

    method: str
    """HTTP method."""
    path: str
    """Path with its query."""
    headers: Mapping[str, str]
    """All headers."""
    body: bytes
    """The whole body."""


Script = Callable[[str, Mapping[str, str]], Scripted]
"""Gives the answer to a path with its query parameters (the last of each name)."""


@contextmanager
def scripted_server(script: Script, received: list[Received] | None = None) -> Iterator[str]:
    """Serve on a free loopback port; give the base URL. Requests with a body are kept in `received`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: a second small one would wait for the first one's receipt

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            answer = script(parts.path, {name: values[-1] for name, values in parse_qs(parts.query).items()})
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if received is not None:
                received.append(Received(self.command, self.path, dict(self.headers), body))
            self.do_GET()

        def do_PUT(self) -> None:
            self.do_POST()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
