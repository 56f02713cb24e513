"""What checks are told together."""

from __future__ import annotations

import pytest

from jobs.core.doctor.checks import CHECKS, Check, Diagnosis, Finding, Status, Verdict, because, some


def test_names_in_a_sentence_are_few_and_short() -> None:
    assert some([]) == ""
    assert some(["a", "x" * 60, "y" * 61]) == f"'a', '{'x' * 60}', '{'y' * 59}…'"
    assert some(list("abcde")) == "'a', 'b', 'c', 'd', 'e'"
    assert some(list("abcdef")) == "'a', 'b', 'c', 'd', 'e' …"
    assert some(list("abc"), 2) == "'a', 'b' …"


def test_what_first_failed_is_why_all_behind_it_is_skipped() -> None:
    first, second, third = Check("a", "g", ""), Check("b", "g", "", ("a",)), Check("c", "g", "", ("x", "b"))
    fine, bad = Verdict(Status.WARN, "fine", "look"), Verdict(Status.FAIL, "bad", "mend")
    assert because(first, {}) is None
    assert because(second, {"a": fine}) is None
    skipped = because(second, {"a": bad})
    assert skipped == Verdict(Status.SKIPPED, "because a failed", "")
    assert because(third, {"x": fine, "b": skipped}) == skipped
    assert because(third, {"x": fine, "b": fine}) is None
    assert {need for check in CHECKS for need in check.needs} <= {check.id for check in CHECKS}


def diagnosis(*statuses: Status, group: str = "Lago") -> Diagnosis:
    return Diagnosis(
        tuple(
            Finding(Check(f"c{place}", group, ""), Verdict(status, "f", "r")) for place, status in enumerate(statuses)
        )
    )


@pytest.mark.parametrize(
    ("statuses", "worst"),
    [
        ((), "pass"),
        ((Status.PASS, Status.SKIPPED), "pass"),
        ((Status.PASS, Status.WARN), "warn"),
        ((Status.WARN, Status.FAIL, Status.WARN), "fail"),
    ],
)
def test_a_diagnosis_is_as_bad_as_its_worst_check(statuses: tuple[Status, ...], worst: str) -> None:
    document = diagnosis(*statuses).document()
    assert document["status"] == worst
    assert document["counts"] == {status.value: statuses.count(status) for status in Status}
    assert document["checks"] == [
        {"id": f"c{place}", "group": "Lago", "status": status.value, "found": "f", "remedy": "r"}
        for place, status in enumerate(statuses)
    ]


def test_only_a_failed_setting_makes_the_settings_wrong() -> None:
    assert diagnosis(Status.FAIL, group="Settings").settings_are_wrong
    assert not diagnosis(Status.WARN, group="Settings").settings_are_wrong
    assert not diagnosis(Status.FAIL, group="Lago").settings_are_wrong
