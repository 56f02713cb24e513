"""How the fuzzers run: the same few examples in every test run, and as many random ones as `make fuzz` asks for."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
_CHECKS = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]


def fuzzed(examples: int) -> settings:
    """Return how to run a fuzzer: so many examples, the same ones each time, or FUZZ_EXAMPLES new ones."""
    return settings(
        max_examples=_EXAMPLES or examples,
        derandomize=not _EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=_CHECKS,
    )


def in_depth(quick: int, deep: int) -> pytest.MarkDecorator:
    """Give the test its number of `examples`: a few, and as a deep test so many."""
    return pytest.mark.parametrize("examples", [quick, pytest.param(deep, marks=pytest.mark.deep)])


NASTY = (
    "",
    " ",
    "\0",
    "\n",
    "\r\n",
    '"',
    "'",
    "\\",
    "{}",
    "None",
    "NaN",
    "Infinity",
    "-1",
    "1e999999999",
    "=1+1",
    "\x1b[31m",
    "\u202e",
    "\u2028",
    "\ud800",
    "\U0001f9fe",
    "x" * 400,
    "%s",
    ":x",
    "$1",
)
texts = st.one_of(st.sampled_from(NASTY), st.text(max_size=30), st.text(st.characters(codec=None), max_size=8))
numbers = st.one_of(
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**40, -(10**40)]),
    st.floats(allow_nan=False, allow_infinity=False),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
"""Any value that JSON can hold, lone surrogates and numbers that fit nowhere included."""
