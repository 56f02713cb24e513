"""Numbers as a person reads them."""

from __future__ import annotations

import pytest

from jobs.core.figures import counted, grouped, share, usd


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1234567, "1,234,567"), ("1234567.50", "1,234,567.50"), ("1E+3", "1,000")],
)
def test_digits_are_grouped(number: int | str, text: str) -> None:
    assert grouped(number) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "-"),
        (0, 7, "0 %"),
        (7, 7, "100 %"),
        (1, 2, "50 %"),
        (1, 3, "33.33 %"),
        (2, 3, "66.66 %"),
        (1, 1_000_000, "0.01 %"),
        ("0.5", 1_000_000, "0.01 %"),
        (999_999, 1_000_000, "99.99 %"),
        (3, 2, "150 %"),
        (2000, 2, "100000 %"),
    ],
)
def test_a_share_never_rounds_up_to_all_nor_down_to_nothing(part: int | str, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0"),
        ("1234.565", "$1,234.56"),
        ("1234.575", "$1,234.58"),
        ("0.1", "$0.10"),
        ("0.0999", "$0.0999"),
        ("0.05", "$0.05"),
        ("0.0000025", "$0.000002"),
        ("0.000001", "$0.000001"),
        ("0.0000009", "<$0.000001"),
        ("-0.5", "$-0.50"),
    ],
)
def test_usd_are_told_as_finely_as_they_need(amount: str, text: str) -> None:
    assert usd(amount) == text


def test_a_count_has_its_noun() -> None:
    assert [counted(number, "event") for number in (0, 1, 2, 2000)] == [
        "0 events",
        "1 event",
        "2 events",
        "2,000 events",
    ]
