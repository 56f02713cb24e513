"""`python -m jobs.playground.lago_standin`: serve until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from pathlib import Path

import psycopg
from aiohttp import web

from jobs.playground.lago_standin.control import add_control_routes
from jobs.playground.lago_standin.queries import query
from jobs.playground.lago_standin.server import Standin, application, open_pool


def main() -> None:
    """Read the command line and serve; return when the parent closed the standard input or a signal came."""
    parser = argparse.ArgumentParser(description="A stand-in for Lago over PostgreSQL.")
    parser.add_argument("--database-url", required=True, help="libpq URL; - reads it from the first line of stdin")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes any free port")
    parser.add_argument("--port-file", type=Path, required=True, help="gets the port and the control token")
    parser.add_argument("--until-stdin-closes", action="store_true", help="stop when the parent goes away")
    options = parser.parse_args()
    database_url = _line_from_stdin() if options.database_url == "-" else options.database_url
    asyncio.run(_serve(database_url, options))


def _line_from_stdin() -> str:
    """Read byte by byte, so that nothing is buffered behind the back of whoever waits for the end of stdin."""
    line = b""
    while (byte := os.read(sys.stdin.fileno(), 1)) not in (b"", b"\n"):
        line += byte
    return line.decode()


async def _serve(database_url: str, options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    if options.until_stdin_closes:
        threading.Thread(target=_wait_for_end_of_stdin, args=(loop, stop), daemon=True).start()
    # One plain connection first: it fails at once where the pool would go on trying.
    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        await connection.execute(query("standin_schema"))
    async with open_pool(database_url) as pool:
        standin = Standin(pool)
        app = application(standin)
        add_control_routes(app)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, options.host, options.port, backlog=512)
        await site.start()
        _publish(options.port_file, runner.addresses[0][1], standin.control_token)
        await stop.wait()
        await runner.cleanup()


def _wait_for_end_of_stdin(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    loop.call_soon_threadsafe(stop.set)


def _publish(port_file: Path, port: int, control_token: str) -> None:
    """Write the file under another name first: whoever sees it sees all of it, and only its owner reads the token."""
    draft = port_file.with_name(port_file.name + ".part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"{port}\n{control_token}\n")
    draft.replace(port_file)


if __name__ == "__main__":
    main()
