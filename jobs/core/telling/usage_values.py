"""What a usage report says: where the parts of tokens are found, sums, and how much they changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

USAGE_OBJECTS = ("usage_object", "additional_usage_values")
"""Where LiteLLM's versions keep a provider's usage in a spend log's metadata; some in both."""
CACHED = ("/prompt_tokens_details/cached_tokens", "/input_tokens_details/cached_tokens", "/cache_read_input_tokens")
"""Where the tokens stand there that a provider took from its cache: a part of the prompt. JSON pointers."""
REASONING = ("/completion_tokens_details/reasoning_tokens", "/output_tokens_details/reasoning_tokens")
"""Where the tokens stand there that a model spent on reasoning: a part of the completion. JSON pointers."""

COMPARED = ("requests", "total_tokens", "spend")
"""What a comparison compares."""

_PERCENT = Decimal("0.01")
# Enough for the greatest sum of the workspace over the least.
_EXACTLY = Context(prec=100, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class UsageSum:
    """One line of a usage report: a period, a subscription, a model, or the total."""

    name: str
    """What is summed; empty for the total, and for what nobody is charged for."""
    requests: int
    """Spend logs that were not excluded."""
    prompt_tokens: int
    """As LiteLLM normalises them, the cached ones among them."""
    cached_tokens: int | None
    """Those of the prompt that the provider took from its cache; None where no spend log tells."""
    completion_tokens: int
    """As LiteLLM normalises them, the reasoning ones among them."""
    reasoning_tokens: int | None
    """Those of the completion that the model spent on reasoning; None where no spend log tells."""
    total_tokens: int
    """As LiteLLM counts them."""
    spend: Decimal
    """In USD, by LiteLLM's price list."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a figure moved."""

    absolute: Decimal
    """Now less then."""
    percent: Decimal | None
    """The same in percent of then, to two places; None where then was nothing."""


def change(now: Decimal | int, then: Decimal | int) -> Change:
    """Return how a figure moved from `then` to `now`."""
    absolute = _EXACTLY.subtract(Decimal(now), Decimal(then))
    if not then:
        return Change(absolute, None)
    ratio = _EXACTLY.divide(absolute, Decimal(then))
    return Change(absolute, _EXACTLY.quantize(_EXACTLY.multiply(ratio, Decimal(100)), _PERCENT))


def comparison_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of `comparison.csv` from one of the query of that name."""
    texts = {"subscription": row["subscription"], "model": row["model"]}
    for name in COMPARED:
        moved = change(row[name], row[f"previous_{name}"])
        texts[name] = plain(row[name])
        texts[f"previous_{name}"] = plain(row[f"previous_{name}"])
        texts[f"{name}_change"] = plain(moved.absolute)
        texts[f"{name}_change_percent"] = "" if moved.percent is None else plain(moved.percent)
    return texts


def plain(number: Decimal | int) -> str:
    """Return a number in digits, without an exponent or trailing zeros."""
    text = f"{Decimal(number):f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text
