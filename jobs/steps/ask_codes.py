"""Asks Lago, where it has no event of a code, whether the calls' events stand under another one."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC, timedelta

from jobs.adapters.lago.event_counts import list_codes
from jobs.adapters.lago.http import LagoClient
from jobs.adapters.workspace import Workspace
from jobs.core.doubts import OtherCode
from jobs.core.window import Window
from jobs.errors import LagoError
from jobs.steps.reconcile_values import Progress, ReconcileSettings

# Each is a request.
_MOST_ASKED = 10


def ask_other_codes(workspace: Workspace, settings: ReconcileSettings, progress: Progress) -> tuple[OtherCode, ...]:
    """Return the codes of which Lago has nothing though calls are missing, each with the code that has their events.

    An event is a call's where one of its properties is what the call used, at the call's time and of its subscription.
    A Lago that does not answer is told, and fails no run.
    """
    missing = workspace.rows("unheard_events", most=_MOST_ASKED)
    if not missing:
        return ()
    asked, found = Counter[str](), defaultdict[str, Counter[str]](Counter)
    tolerance = settings.rules.tolerance
    early, late = (timedelta(microseconds=us) for us in (tolerance.early_us, tolerance.late_us))
    try:
        with LagoClient(settings.lago) as client:
            for row in missing:
                at = row["time"].replace(tzinfo=UTC)
                beside = Window(at - early, at + late)
                codes = list_codes(client, row["subscription"], beside, row["quantity"])
                asked[row["code"]] += 1
                found[row["code"]].update(codes - {row["code"]})
    except LagoError as error:
        progress.note(f"other codes were not looked at: {error}")
    return tuple(
        OtherCode(code, other, calls, asked[code])
        for code, counted in sorted(found.items())
        for other, calls in counted.most_common(1)
    )
