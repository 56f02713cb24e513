"""Rows from PostgreSQL as CSV, in chunks that another database reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from jobs.drivers.postgres import Snapshot, explained

# Big enough that the cost of handing a chunk on does not show, small enough to keep memory flat.
CHUNK_BYTES = 16 * 1024 * 1024


def copy_rows(snapshot: Snapshot, text: str, parameters: Mapping[str, object]) -> Iterator[bytes]:
    """Yield the rows of this query as CSV in chunks of whole rows; NULL is empty, an empty text quoted.

    Raise `SourceError` if the read is cancelled or breaks off.
    """
    # PostgreSQL sends each CSV row as one message, so that message ends are row ends even where values have line
    # breaks.
    copy = f"COPY (\n{text}\n) TO STDOUT (FORMAT csv)".encode()
    chunk = bytearray()
    with (
        explained(snapshot.settings, snapshot.statement_timeout),
        snapshot.connection.cursor() as cursor,
        cursor.copy(copy, parameters) as rows,
    ):
        while row := rows.read():
            chunk += row
            ended = _take_received(snapshot.connection.pgconn, chunk)
            if len(chunk) >= CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
            if ended:
                break
    if chunk:
        yield bytes(chunk)


def _take_received(connection: PGconn, chunk: bytearray) -> bool:
    """Add the rows that have arrived to the chunk until it is full, and tell whether they were the last.

    psycopg's `Copy` looks after waiting and interruption anew for each row, which takes twice the time of reading it.
    """
    while len(chunk) < CHUNK_BYTES:
        size, row = connection.get_copy_data(1)
        if size == 0:
            return False
        if size < 0:
            results = list(iter(connection.get_result, None))
            if failed := [result for result in results if result.status != ExecStatus.COMMAND_OK]:
                raise error_from_result(failed[0])
            return True
        chunk += row
    return False
