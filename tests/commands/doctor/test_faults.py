"""Each fault is told with what to do about it."""

from __future__ import annotations

import pytest

from jobs.core.doctor.checks import CHECKS, Status
from tests.commands.doctor.faults import FAULTS
from tests.commands.doctor.helpers import World, told
from tests.support.backfilling import CODE
from tests.support.twins import deep_but

# Some of each neighbour. How all checks judge what they see is shown by tests/core/doctor_verdicts/.
_SHOWN = """
value, variable, no Lago, host name with port, closed port, password, no privilege, no index on few rows, local time,
daily table counts more, pinned end users, no Lago there, key, permission, rate, code, pay in advance, unknown code,
unknown subscription, clock, newer ledger, lock, output
"""


def test_a_healthy_deployment_passes_entirely(world: World) -> None:
    diagnosis = world.diagnose()
    assert [finding for finding in diagnosis.findings if finding.verdict.status is not Status.PASS] == []
    assert [finding.check for finding in diagnosis.findings] == list(CHECKS)
    told = {finding.check.id: finding.verdict.found for finding in diagnosis.findings}
    # The user's report: this host with its port was given to psql -h as one name.
    assert "DATABASE_HOST holds host:port and is taken apart here" in told["database-name"]
    assert "psql -h" in told["database-name"]
    assert "all name who pays" in told["attribution"]
    assert told["metric"] == f"{CODE} is sum_agg of total_tokens"
    assert not (world.folder / "runs").exists(), "it only reads"


@pytest.mark.parametrize("name", deep_but(FAULTS, *_SHOWN.replace("\n", " ").strip().split(", ")))
def test_each_fault_is_named_with_what_to_do(name: str, world: World) -> None:
    setup, check, status, words = FAULTS[name]
    setup(world)
    verdict = told(world, check)
    assert verdict.status == status, verdict
    assert verdict.remedy, verdict
    said = f"{verdict.found}. {verdict.remedy}"
    assert [word for word in words if word not in said] == [], said
