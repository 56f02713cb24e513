"""Use case: one run over several processes. Each shard matches its own subscriptions; a merge judges what they leave.

A shard reads the spend logs and events of its subscriptions, pairs what agrees within each of them, and adds up what it
read, which is nearly all of the work. It leaves tallies and the few rows that have not matched. Everything that looks
across subscriptions waits for the merge, which takes these and goes on as an unsharded run would: the same files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from jobs import __version__
from jobs.adapters.lago.catalogue import read_catalogue
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.run_folder import RunFolder
from jobs.adapters.workspace import Workspace
from jobs.core.layout import Layout, lay_out
from jobs.core.litellm.spend_logs import SpendLogsBounds
from jobs.core.meters import BoundPart, bind
from jobs.core.shard import WHOLE
from jobs.core.shard_record import Agreement, ShardRecord, checked_shards, read_record
from jobs.core.window_facts import SENT_TWICE_WITHIN
from jobs.errors import LawBrokenError, RefusedError
from jobs.reconcile import folder_name
from jobs.steps.judge import judge_left_over
from jobs.steps.read import matched_workspace
from jobs.steps.reconcile_values import Judged, Progress, Reading, ReconcileSettings, Run
from jobs.steps.references import load_references
from jobs.steps.report import report_run

RECORD_FILE, ROWS_FILE = "shard.json", "shard.duckdb"


def reconcile_shard(settings: ReconcileSettings, progress: Progress, *, now: datetime, run_id: str) -> Path:
    """Read and match the shard's subscriptions, and return the folder that a merge takes."""
    name = f"{folder_name(settings.window, run_id)}-shard-{settings.shard.index}-of-{settings.shard.count}"
    with RunFolder(settings.output, name, settings.scratch) as folder:
        for left in folder.removed:
            progress.note(f"removed {left}, which a run that was killed had left unfinished")
        with matched_workspace(settings, folder.scratch, progress, now=now, keeps_reading=True) as (workspace, reading):
            progress.step("writing the shard")
            _keep(
                workspace,
                folder.scratch / ROWS_FILE,
                has_allowed_file=settings.rules.allowed is not None,
                keeps_daily_totals=settings.shard.index == 0,
            )
            record = ShardRecord(
                shard=settings.shard,
                agreement=_agreement(settings, reading.layout, reading.bound),
                now=now,
                schema=reading.schema,
                bounds=reading.bounds,
                legacy_rows=reading.legacy_rows,
                dead_letters=reading.dead_letters,
            )
        folder.keep(folder.scratch / ROWS_FILE, ROWS_FILE)
        folder.write_json(RECORD_FILE, record.document())
        folder.discard_scratch()
    return folder.path


def merge(settings: ReconcileSettings, folders: Sequence[Path], progress: Progress, *, run_id: str) -> Run:
    """Judge what the shards in these folders left, and leave the run's folder as an unsharded run would.

    The window is the shards'; the time by which spend logs have settled is that of the first shard that began. Raises
    `RefusedError` unless the folders are all the shards of one run, made under the rules that are set now.
    """
    paths = {str(path): path for path in folders}
    if len(paths) != len(folders):
        raise RefusedError("a shard's folder is given twice", "Give each shard's folder once")
    records = {name: _record(path) for name, path in paths.items()}
    progress.step("reading Lago's catalogue")
    with LagoClient(settings.lago) as client:
        catalogue = read_catalogue(client)
    bound = bind(settings.rules.parts, {metric.code: metric for metric in catalogue.metrics})
    layout = lay_out(bound, settings.rules.charge_by_path, settings.rules.id_template)
    ordered = checked_shards(records, _agreement(settings, layout, bound))
    first, now = records[ordered[0]], min(record.now for record in records.values())
    settings = replace(settings, window=first.agreement.window, shard=WHOLE)
    bounds, legacy_rows = _bounds(records), _legacy_rows(records)
    dead_letters = sum(record.dead_letters for record in records.values())
    reading = Reading(catalogue, bound, layout, first.schema, bounds, legacy_rows, dead_letters)
    with RunFolder(settings.output, folder_name(settings.window, run_id), settings.scratch) as folder:
        with Workspace(folder.scratch, memory_limit=settings.memory_limit, threads=settings.threads) as workspace:
            for number, name in enumerate(ordered, start=1):
                progress.step(f"taking shard {number} of {len(ordered)}")
                _adopt(workspace, paths[name] / ROWS_FILE)
            progress.step("matching what is left over")
            load_references(workspace, settings.rules, layout, catalogue, settings.unsendable, settings.sent_before)
            pinning = reading.schema.may_pin_end_users
            facts = judge_left_over(
                workspace, settings.rules, catalogue, settings.window, now, may_pin_end_users=pinning
            )
            judged = Judged(workspace, settings, reading, facts)
            run = report_run(judged, folder, progress, now=now, run_id=run_id)
        folder.discard_scratch()
    return run


def _keep(workspace: Workspace, path: Path, *, has_allowed_file: bool, keeps_daily_totals: bool) -> None:
    """Write what a merge asks for: what has not matched, row by row, and of all that has the tallies."""
    with workspace.keeping(path):
        workspace.run(
            "keep_pairs",
            twin_within_us=SENT_TWICE_WITHIN // timedelta(microseconds=1),
            has_allowed_file=has_allowed_file,
        )
        workspace.run("number_kept_spend_logs")
        for name in ("spend_logs", "accounts", "expected_events", "recorded_events", "unbilled_events", "tallies"):
            workspace.run(f"keep_{name}")
        workspace.run("keep_daily_totals", keeps=keeps_daily_totals)


def _adopt(workspace: Workspace, path: Path) -> None:
    with workspace.attached(path):
        workspace.run("adopt_tables")
        (offsets,) = workspace.rows("adopt_offsets")
        spend_logs = {"spend_logs": offsets["spend_logs"]}
        expected, recorded = {"expected": offsets["expected"]}, {"recorded": offsets["recorded"]}
        workspace.run("adopt_spend_logs")
        workspace.run("adopt_accounts", **spend_logs)
        workspace.run("adopt_expected_events", **spend_logs, **expected)
        workspace.run("adopt_recorded_events", **recorded)
        workspace.run("adopt_unbilled_events", **recorded)
        workspace.run("adopt_pairs", **expected, **recorded)
        workspace.run("adopt_open_chains", **expected)
        workspace.run("adopt_tallies")
        workspace.run("adopt_daily_totals")
        workspace.run("adopt_known_end_users")
        workspace.run("adopt_marks")
        (checked,) = workspace.rows("adopted_as_they_were", **spend_logs)
        if not checked["is_so"]:
            raise LawBrokenError(f"the spend logs of {path} changed their order on the way")


def _record(folder: Path) -> ShardRecord:
    try:
        document = json.loads((folder / RECORD_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise RefusedError(
            f"{folder} holds no readable {RECORD_FILE}", "Give the folders that `reconcile --shard` made"
        ) from error
    return read_record(document, str(folder))


def _agreement(settings: ReconcileSettings, layout: Layout, bound: tuple[BoundPart, ...]) -> Agreement:
    database, store = settings.database, settings.store
    sources = (
        *(database.address, database.name, database.schema, settings.clock, settings.lago.api_base),
        None if store is None else (type(store).__name__, store.address, store.organization_id),
    )
    return Agreement(
        code_version=__version__,
        window=settings.window,
        rules=settings.rules.fingerprint(),
        meter=_digest((layout, bound)),
        sources=_digest(sources),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(repr(value).encode()).hexdigest()


def _bounds(records: Mapping[str, ShardRecord]) -> SpendLogsBounds:
    """Return the latest of what the shards saw: each asked the whole table, whose beginning retention moves."""

    def among(name: str) -> list[datetime]:
        found = (getattr(record.bounds, name) for record in records.values())
        return [instant for instant in found if instant is not None]

    return SpendLogsBounds(
        oldest_start=max(among("oldest_start"), default=None),
        oldest_end=max(among("oldest_end"), default=None),
        newest_start=max(among("newest_start"), default=None),
        newest_end=max(among("newest_end"), default=None),
    )


def _legacy_rows(records: Mapping[str, ShardRecord]) -> int | None:
    counts = [record.legacy_rows for record in records.values()]
    return None if None in counts else max(count for count in counts if count is not None)
