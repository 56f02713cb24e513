"""Reading usage events from the ClickHouse that Lago keeps them in, past its API. Needs the extra `clickhouse`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from jobs.core.lago.store import ClickHouseStore
from jobs.core.lago.sums import SumAsked
from jobs.core.window import Window
from jobs.drivers.queries import query
from jobs.errors import SettingError, SourceError

_READ_BYTES = 4 * 1024 * 1024
_CHUNK_BYTES = 16 * 1024 * 1024
_SETTING = "RECONCILE_LAGO_STORE_URL"
# Later than any time of an event, and a time that ClickHouse can hold.
_NEVER = datetime(2200, 1, 1, tzinfo=UTC)


def check_clickhouse_events(
    store: ClickHouseStore, *, organization_id: str, codes: Sequence[str], window: Window
) -> int:
    """Return how many events of these codes in the window Lago accepted and never bills.

    Raise `SettingError` without the client library, `SourceError` if ClickHouse cannot be reached or read, or holds
    events that Lago has yet to enrich.
    """
    asked = _asked(organization_id, codes, window)
    with _explained(store.address), closing(_connected(store.url)) as client:
        if not client.command("EXISTS TABLE events_dead_letter"):  # Lago has had it since late 2025
            return 0
        put_aside = _count(client, "count_dead_letters", asked)
        _require_enriched(_count(client, "count_unenriched_events", asked), store.address)
        return put_aside


def read_clickhouse_events(
    store: ClickHouseStore,
    *,
    organization_id: str,
    codes: Sequence[str],
    window: Window,
    property_names: Sequence[str],
    statement_timeout: timedelta,
) -> Iterator[bytes]:
    """Yield the events of these codes in the window that Lago bills, as CSV in chunks of whole rows.

    The columns are those of `jobs.adapters.lago.event_pages.EVENT_COLUMNS`, of which the row's id and time of arrival
    are NULL: each event comes once. Raise `SettingError` without the client library, `SourceError` if ClickHouse cannot
    be reached or read.
    """
    asked = {**_asked(organization_id, codes, window), "property_names": list(property_names)}
    # An empty field for NULL, as PostgreSQL writes it; zero is no limit for ClickHouse too.
    limits = {"format_csv_null_representation": "", "max_execution_time": round(statement_timeout.total_seconds())}
    with _explained(store.address), closing(_connected(store.url)) as client:
        stream = client.raw_stream(
            query("lago_store", "read_lago_clickhouse_events"), parameters=asked, fmt="CSV", settings=limits
        )
        with closing(stream):
            yield from whole_rows(iter(lambda: stream.read(_READ_BYTES), b""))


def _asked(organization_id: str, codes: Sequence[str], window: Window) -> dict[str, object]:
    return {
        "organization_id": organization_id,
        "codes": list(dict.fromkeys(codes)),
        "window_start": _instant(window.start),
        "window_end": _instant(window.end),
    }


def sum_clickhouse_events(
    store: ClickHouseStore,
    *,
    organization_id: str,
    asked: Sequence[SumAsked],
    property_names: Sequence[str],
    recent_since: datetime,
    statement_timeout: timedelta,
) -> list[dict[str, Any]]:
    """Return what `jobs.adapters.lago_postgres_store.sum_stored_events` does, of what ClickHouse bills.

    Raise `SettingError` without the client library, `SourceError` if ClickHouse cannot be reached or read.
    """
    parameters = {
        "organization_id": organization_id,
        "property_names": list(property_names),
        "recent_since": _instant(recent_since),
        "places": [one.place for one in asked],
        "subscriptions": [one.subscription for one in asked],
        "codes": [one.code for one in asked],
        "fields": [one.field or "" for one in asked],
        "starts": [_instant(one.period.start) for one in asked],
        "ends": [_instant(one.period.end) for one in asked],
        "closes": [_instant(one.closes_at or _NEVER) for one in asked],
    }
    limits = {"max_execution_time": round(statement_timeout.total_seconds())}
    with _explained(store.address), closing(_connected(store.url)) as client:
        found = client.query(query("lago_store", "sum_lago_clickhouse_events"), parameters=parameters, settings=limits)
        return list(found.named_results())


def whole_rows(pieces: Iterator[bytes], size: int = _CHUNK_BYTES) -> Iterator[bytes]:
    """Yield a CSV that comes in arbitrary pieces in chunks that end where rows end.

    A line break outside quotes ends a row; a quote within a value is doubled, so up to there their number is even.
    """
    held = bytearray()
    for piece in pieces:
        held += piece
        if len(held) >= size:
            end = _row_end(held)
            if end:
                yield bytes(held[:end])
                del held[:end]
    if held:
        yield bytes(held)


def _row_end(held: bytearray) -> int:
    end = len(held)
    while (place := held.rfind(b"\n", 0, end)) >= 0:
        if held.count(b'"', 0, place) % 2 == 0:
            return place + 1
        end = place
    return 0


def _connected(url: str) -> Any:
    try:
        import clickhouse_connect  # noqa: PLC0415 - an extra that most installations do without
    except ImportError as error:
        raise SettingError(
            "RECONCILE_EVENTS_FROM is clickhouse, but its client library is not installed",
            "Install litellm-lago-reconcile[clickhouse]",
        ) from error
    return clickhouse_connect.get_client(dsn=url)


def _require_enriched(waiting: int, address: str) -> None:
    if waiting > 0:
        raise SourceError(
            f"Lago's ClickHouse at {address} holds {waiting} events of the window that its processor has not enriched",
            "Wait until Lago's events-processor has caught up, or set RECONCILE_EVENTS_FROM to api",
        )


def _count(client: Any, name: str, asked: Mapping[str, object]) -> int:
    return int(client.command(query("lago_store", name), parameters=dict(asked)))


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn every error of the client inside into one `SourceError` that shows no password."""
    try:
        from clickhouse_connect.driver.exceptions import ClickHouseError  # noqa: PLC0415 - see `_connected`
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - of the same; what a proxy's address may raise
    except ImportError:
        yield
        return
    try:
        yield
    except (ClickHouseError, HTTPError, OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0][:300]
        raise SourceError(
            f"Lago's ClickHouse at {address} could not answer: {reason}",
            f"Check {_SETTING} (clickhouse://USERNAME:PASSWORD@HOST:8123/NAME) and that the role may SELECT from "
            "events_enriched and events_dead_letter",
        ) from None


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec="microseconds")
