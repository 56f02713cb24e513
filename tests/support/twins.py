"""Cases of one behaviour, of which `make test` shows some and `make test-deep` the others.

The others go the same way through the code: by another value, store, server, era or fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from _pytest.mark import ParameterSet


def deep_after(shown: int, cases: Iterable[Any]) -> list[Any]:
    """Leave all but so many first cases to the deep tests; they are what `pytest.mark.parametrize` takes."""
    return [case if place < shown else _deep(case) for place, case in enumerate(cases)]


def deep_but(cases: Iterable[Any], *shown: Any) -> list[Any]:
    """Leave all cases to the deep tests but these, each of which is one of them."""
    known = list(cases)
    assert all(one in known for one in shown), f"{shown} are not all of {known}"
    return [case if case in shown else _deep(case) for case in known]


def _deep(case: Any) -> ParameterSet:
    if isinstance(case, ParameterSet):
        return pytest.param(*case.values, id=case.id, marks=[*case.marks, pytest.mark.deep])
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.deep)
