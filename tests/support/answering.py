"""Answers of a server that is none: read as one of a real one is, so that it has taken some time."""

from __future__ import annotations

from typing import Any

import httpx


def answering(status: int, **content: Any) -> httpx.MockTransport:
    """Return a transport by which everything is answered with this status and content."""
    made = httpx.Response(status, **content)

    def answer(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers=made.headers, stream=httpx.ByteStream(made.content))

    return httpx.MockTransport(answer)
