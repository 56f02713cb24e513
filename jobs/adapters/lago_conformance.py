"""Puts recorded requests to a running server, byte for byte."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Self

import httpx

from jobs.core.lago.conformance import Response
from jobs.errors import LagoError

_KEY_OF_THE_RECORDING = "confkey"
_TIMEOUT_SECONDS = 60.0


class RecordedRequests:
    """A client that sends what the recording says, with another server's address and key."""

    def __init__(self, api_base: str, api_key: str) -> None:
        """Take the server's address, without `/api/v1`, and a key of an organisation of its own."""
        self._key = api_key
        self._client = httpx.Client(base_url=f"{api_base.rstrip('/')}/api/v1/", timeout=_TIMEOUT_SECONDS)

    def send(self, request: Mapping[str, Any]) -> Response:
        """Send one recorded request and return the answer; `LagoError` where none comes."""
        headers = {"Authorization": f"Bearer {self._key}"} | {
            name: text.replace(_KEY_OF_THE_RECORDING, self._key) for name, text in request.get("headers", {}).items()
        }
        content = None
        if "json" in request:
            content = json.dumps(request["json"]).encode()
        elif "body_base64" in request:
            content = base64.b64decode(request["body_base64"])
        if content is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = self._client.request(
                request["method"], request["path"], params=request.get("params"), content=content, headers=headers
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise LagoError(
                f"no answer to {request['method']} {request['path'][:60]}: {error or type(error).__name__}",
                "Check the address, and that the server runs",
            ) from error
        return Response(answer.status_code, answer.headers.get("content-type", ""), answer.text)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_exception: object) -> None:
        """Close its connections."""
        self._client.close()
