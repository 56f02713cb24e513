"""The workspace: a DuckDB database in a folder of its own, where the two sides meet.

Everything set-based happens here, from the files under `sql/`, within a memory limit and spilling to the folder's disk.
"""

from __future__ import annotations

import codecs
import shutil
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import duckdb
import orjson
from duckdb import ColumnExpression, ConstantExpression, FunctionExpression

from jobs.core.assignment import Tolerance, assign
from jobs.core.telling.reports import Columns
from jobs.core.text import spreadsheet_safe
from jobs.drivers.queries import query
from jobs.errors import ReconcileError

_WORKSPACE_FILE = "workspace.duckdb"
_ROWS_AT_A_TIME = 10_000
_OCTETS_AT_A_TIME = 1024 * 1024
_LARGEST_OBJECT = 4 * 1024 * 1024
_USE = "USE workspace"


class Workspace:
    """One run's DuckDB database; a context manager that closes it. The caller removes the folder."""

    def __init__(self, folder: Path, *, memory_limit: str, threads: int | None = None, in_memory: bool = False) -> None:
        """Open an empty workspace in this folder. `memory_limit` is a size such as `1GB`.

        One in memory writes to the folder what it has no memory for, uncompressed: for rows that pass through.
        """
        self._folder = folder
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": memory_limit,
            "temp_directory": str(folder / "spill"),
            "preserve_insertion_order": False,
            # The file is gone when the run is: nothing in it has to survive a crash of the machine.
            "fsync_mode": "NONE",
            "checkpoint_on_detach": "DISABLED",
            # Ids hardly shrink, and trying costs a third of all writing.
            "disabled_compression_methods": "fsst,dict_fsst,zstd",
            # Where DuckDB guesses that few rows are looked up, it compares each with all others, which takes seconds.
            "asof_loop_join_threshold": 0,
        }
        if threads:
            config["threads"] = threads
        self._database = duckdb.connect(":memory:", config=config)
        # A thread takes a group of rows at a time: of DuckDB's own size, 122,880, a small gateway's day is one.
        self._database.execute(
            "ATTACH $path AS workspace (ROW_GROUP_SIZE 20480)",
            {"path": ":memory:" if in_memory else str(folder / _WORKSPACE_FILE)},
        )
        self._database.execute(_USE)
        # Nobody wants the file afterwards: what is to be kept has a file of its own (`keeping`).
        self._database.execute("PRAGMA disable_checkpoint_on_shutdown")
        self._database.create_function("spreadsheet_safe", spreadsheet_safe, ["VARCHAR"], "VARCHAR")
        self._database.execute(query("workspace", "workspace_schema"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()

    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = self._database.cursor()
        connection.execute(_USE)
        return connection

    @contextmanager
    def beside(self) -> Iterator[Self]:
        """Yield the same workspace for another thread: a connection does one thing at a time."""
        other = copy(self)
        with self._connection() as other._database:
            yield other

    def run(self, name: str, **parameters: object) -> duckdb.DuckDBPyConnection:
        """Run the query of this name; a failure of the engine becomes a `ReconcileError` that names the query."""
        return self._run(self._database, name, parameters)

    @staticmethod
    def _run(
        connection: duckdb.DuckDBPyConnection, name: str, parameters: Mapping[str, object]
    ) -> duckdb.DuckDBPyConnection:
        with _explained(name):
            return connection.execute(query("workspace", name), parameters or None)

    def records(self, name: str, **parameters: object) -> Iterator[dict[str, Any]]:
        """Yield a result of any size as dictionaries, one row at a time."""
        result = self.run(name, **parameters)
        columns = [column[0] for column in result.description or []]
        for row in _rows(name, result):
            yield dict(zip(columns, row, strict=True))

    def rows(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        """Return a small result as dictionaries; for results that do not grow with the window."""
        return list(self.records(name, **parameters))

    def texts(self, name: str, **parameters: object) -> Iterator[str]:
        """Yield a result of one column and any size, while other queries run."""
        result = self._run(self._connection(), name, parameters)
        for (text,) in _rows(name, result):
            yield text

    def write_csv(self, path: Path, columns: Columns, *names: str) -> int:
        """Write what the queries of these names find, one after another, and return the number of rows.

        UTF-8, comma, "\\n" line ends, quoted where needed, strangers' text made safe for a spreadsheet: the same bytes
        everywhere.
        """
        more = self._folder / "more.csv"
        self._database.execute("SET preserve_insertion_order = true")
        try:
            for place, name in enumerate(names):
                with _explained(name):
                    cells = [_cell(column, is_text=column in columns.texts) for column in columns.names]
                    found = self._database.sql(query("workspace", name)).select(*cells)
                    found.write_csv(str(more if place else path), header=not place, na_rep="")
                if place:
                    with path.open("ab") as whole, more.open("rb") as rest:
                        shutil.copyfileobj(rest, whole)
                    more.unlink()
        finally:
            self._database.execute("SET preserve_insertion_order = false")
        with path.open("rb") as written:  # no cell holds a line break: they are among what is made visible
            return sum(chunk.count(b"\n") for chunk in iter(partial(written.read, _OCTETS_AT_A_TIME), b"")) - 1

    def load(self, name: str, chunks: Iterable[bytes], **parameters: object) -> None:
        """Load chunks of CSV by the query of this name, each chunk whole rows; the file is gone afterwards.

        The next chunk is read while one is loaded, and another thread may load something else meanwhile. All chunks are
        one transaction, which spares writing them twice.
        """
        path = self._folder / f"{name}.csv"
        with self._connection() as connection:
            connection.begin()
            for chunk in _read_ahead(chunks):
                with path.open("wb") as file:
                    # Of a first value that begins with such a mark itself, the reader would take it away.
                    file.write(codecs.BOM_UTF8)
                    file.write(chunk)
                self._run(connection, name, {"path": str(path), **parameters})
            connection.commit()
        path.unlink(missing_ok=True)

    @contextmanager
    def keeping(self, path: Path) -> Iterator[None]:
        """Let queries write tables that outlive the workspace into this file, as `kept`."""
        with _explained("what is kept"):
            self._database.execute("ATTACH $path AS kept", {"path": str(path)})
            yield
            self._database.execute("CHECKPOINT kept")
            self._database.execute("DETACH kept")

    @contextmanager
    def attached(self, path: Path) -> Iterator[None]:
        """Let queries read what was kept in this file as `taken`, and keep its rows' order where they insert them."""
        with _explained("what was kept"):
            self._database.execute("ATTACH $path AS taken (READ_ONLY)", {"path": str(path)})
        self._database.execute("SET preserve_insertion_order = true")
        try:
            yield
        finally:
            self._database.execute("SET preserve_insertion_order = false")
            self._database.execute("DETACH taken")

    def pieces(self, name: str, **parameters: object) -> dict[int, tuple[bytes, ...]]:
        """Return what the query of this name writes for each part, as Parquet."""
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self._folder) as folder:
            self.run(name, folder=folder, **parameters)
            return {
                int(part.name.removeprefix("part=")): tuple(file.read_bytes() for file in sorted(part.iterdir()))
                for part in sorted(Path(folder).iterdir())
            }

    def written(self, name: str, **parameters: object) -> bytes:
        """Return what the query of this name writes, as Parquet."""
        path = self._folder / f"{name}.parquet"
        self.run(name, path=str(path), **parameters)
        content = path.read_bytes()
        path.unlink()
        return content

    def take(self, name: str, pieces: Sequence[bytes]) -> None:
        """Load pieces of Parquet by the query of this name; nothing where there are none."""
        if not pieces:
            return
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=self._folder) as folder:
            paths = [Path(folder) / f"{number}.parquet" for number in range(len(pieces))]
            for path, piece in zip(paths, pieces, strict=True):
                path.write_bytes(piece)
            self.run(name, paths=[str(path) for path in paths])

    def insert(self, table: str, rows: Iterable[Sequence[object]]) -> None:
        """Append rows to one of the workspace's tables, in its column order; none holds a float."""
        into = self._database.table(table)
        columns = {name: f"{kind}[]" for name, kind in zip(into.columns, into.types, strict=True)}
        path = self._folder / f"{table}.json"
        for batch in _batched(rows):
            for content in _as_columns(columns, batch):
                path.write_bytes(content)
                with _explained(f"what fills {table}"):
                    asked = {"path": str(path), "columns": columns, "size": len(content) + 1}
                    self._database.sql(query("workspace", "read_rows"), params=asked).insert_into(table)
                path.unlink()

    def map_rows(self, name: str, table: str, transform: Any) -> None:
        """Append `transform(*row)` to a table for each row of the query of this name."""
        result = self._run(self._connection(), name, {})
        self.insert(table, (transform(*row) for row in _rows(name, result)))

    def pair_by_time(
        self, stage: str, candidates: str, tolerance: Tolerance, edges: Mapping[str, int], **parameters: object
    ) -> None:
        """Pair, as `stage`, what the query `candidates` finds equal and what lies within the tolerance.

        One to one, as many pairs as can be, and of those with the least total distance in time. `edges` are the ends of
        what was read, `read_start_us` and `read_end_us`, in microseconds since 1970.
        """
        reach = {"early_us": tolerance.early_us, "late_us": tolerance.late_us}
        self.run("clear_candidates")
        self.run(candidates, **parameters)
        (found,) = self.rows("has_candidates")
        if not found["has_candidates"]:
            return
        self.run("find_islands", **reach)
        self.run("measure_islands", **reach, **edges)
        self.run("rank_islands", **reach)
        self.run("pair_solved_islands", stage=stage)
        self.insert("pair", self._solve_islands(stage, tolerance))

    def _solve_islands(self, stage: str, tolerance: Tolerance) -> Iterator[tuple[int, int, str]]:
        name = "read_unsolved_islands"
        result = self._run(self._connection(), name, {})
        for _, members in groupby(_rows(name, result), key=itemgetter(0)):
            ids, times = ({side: array("q") for side in (True, False)} for _ in range(2))
            for _, is_expected, event_id, time_us in members:
                ids[is_expected].append(event_id)
                times[is_expected].append(time_us)
            for left, right in assign(times[True], times[False], tolerance):
                yield ids[True][left], ids[False][right], stage


def _cell(column: str, *, is_text: bool) -> duckdb.Expression:
    value = ColumnExpression(column)
    # An empty text would be quoted, to be told from none.
    shown = FunctionExpression("safe_cell", value) if is_text else FunctionExpression("concat", value)
    return FunctionExpression("nullif", shown, ConstantExpression("")).alias(column)


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn a failure of the engine inside into a `ReconcileError` of one line that names the query."""
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise ReconcileError(
            f"the workspace's memory limit is too small for {name}", "Raise RECONCILE_MEMORY_LIMIT"
        ) from error
    except duckdb.IOException as error:
        raise ReconcileError(
            f"the workspace could not run {name}: {_first_line(error)}", "Make room on the disk of the output folder"
        ) from error
    except duckdb.Error as error:
        raise ReconcileError(
            f"the workspace could not run {name}: {_first_line(error)}",
            "This is a fault of litellm-lago or of DuckDB: report this line and the version",
        ) from error


def _first_line(error: duckdb.Error) -> str:
    # An internal error goes on with a stack trace.
    return str(error).partition("\n")[0]


def _rows(name: str, result: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    with _explained(name):
        while rows := result.fetchmany(_ROWS_AT_A_TIME):
            yield from rows


def _read_ahead(chunks: Iterable[bytes]) -> Iterator[bytes]:
    iterator = iter(chunks)
    reader = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        following = reader.submit(next, iterator, None)
        while (chunk := following.result()) is not None:
            following = reader.submit(next, iterator, None)
            yield chunk
    finally:
        # Not waiting: after an error or Ctrl-C the source may be in a long back-off, which closing it ends.
        reader.shutdown(wait=False, cancel_futures=True)


def _as_columns(names: Iterable[str], rows: Sequence[Sequence[object]]) -> Iterator[bytes]:
    """Yield rows as JSON, a list for each column: an object for each row takes four times as long.

    The engine holds such an object whole, so rows of long texts come in several.
    """
    content = orjson.dumps(dict(zip(names, zip(*rows, strict=True), strict=True)), default=str)
    if len(content) <= _LARGEST_OBJECT or len(rows) == 1:
        yield content
        return
    half = len(rows) // 2
    yield from _as_columns(names, rows[:half])
    yield from _as_columns(names, rows[half:])


def _batched(rows: Iterable[Sequence[object]]) -> Iterator[list[Sequence[object]]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, _ROWS_AT_A_TIME)):
        yield batch
