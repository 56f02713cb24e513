"""Meters: the rule by which one spend log becomes one or more expected events.

A meter is a tuple of parts; each part makes at most one event of one code. A part names, per event property, the source
in the spend log it comes from:

- a number: `prompt_tokens`, `completion_tokens`, `total_tokens`, `spend`;
- a text: `model` (as LiteLLM's callback spells it), `model_group`, `provider`, `call_type`, `user_id`, `team_id`,
  `organization_id`, `end_user`, `api_key`;
- `metadata.<path>`: a value inside the spend log's metadata, its keys separated by dots;
- `=<text>`: the same text for every event;
- `amount`: what the event bills where it carries an amount (`MeterPart.amount`), in the currency's main unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_DOWN, Decimal, localcontext

from jobs.core.lago.prices import currency_exponent
from jobs.core.lago.values import BillableMetric
from jobs.errors import SettingError

NUMBER_SOURCES = ("prompt_tokens", "completion_tokens", "total_tokens", "spend")
TEXT_SOURCES = (
    "model",
    "model_group",
    "provider",
    "call_type",
    "user_id",
    "team_id",
    "organization_id",
    "end_user",
    "api_key",
)
METADATA = "metadata."
LITERAL = "="
AMOUNT = "amount"
TOP_UP = "/top-up"
PRESETS = ("callback", "input-output", "agent-sdk", "agent-sdk-price")
"""The stock senders that there is a meter for."""
AGENT_SDK_CODES = {"agent-sdk": "", "agent-sdk-price": "llm_cost"}
"""Presets that need no `LAGO_API_EVENT_CODE`, with the code that they take instead."""
_KEYS = ("code", "part", "dimensions", "quantities", "carried", "skip_zero", "cost")
_INPUT_COST, _OUTPUT_COST = (f"metadata.cost_breakdown.{part}_cost" for part in ("input", "output"))
# Those of lago-agent-sdk, which rounds down: no amount is more than what the call cost, times the markup.
_AMOUNT_STEP = Decimal("1e-12")
# Those of a spend log's cost in the workspace.
_COST_STEP = Decimal("1e-20")
_DIGITS = 80

Properties = tuple[tuple[str, str], ...]
"""Event properties in order: (property name, source)."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How the amount that an event carries is made of what LiteLLM says the call cost."""

    markup: Decimal
    """What the cost is multiplied by: a price's markup, and a rate of exchange where the currency is not USD."""
    currency: str
    """ISO 4217 code of the amount."""

    def main_unit(self, cost: Decimal) -> Decimal:
        """Return the amount of a cost in USD in the currency's main unit, rounded down to 12 decimals."""
        with localcontext() as context:
            context.prec = _DIGITS
            return (cost * self.markup).quantize(_AMOUNT_STEP, ROUND_DOWN)

    def smallest_unit(self, cost: Decimal) -> Decimal:
        """Return the same in the currency's smallest unit, as Lago's `precise_total_amount_cents` takes it."""
        with localcontext() as context:
            context.prec = _DIGITS
            return self.main_unit(cost).scaleb(currency_exponent(self.currency))

    @property
    def least_cost(self) -> Decimal:
        """Return the least cost in USD of which there is an amount above zero."""
        with localcontext() as context:
            context.prec = _DIGITS
            return (_AMOUNT_STEP / self.markup).quantize(_COST_STEP, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class MeterPart:
    """What one part of a meter makes of a spend log."""

    code: str
    """The billable metric's code that the event names."""
    part: str
    """Tells the parts of one meter apart; goes into the transaction id."""
    dimensions: Properties
    """The properties that choose a price; compared."""
    quantities: Properties
    """The counted properties; compared."""
    carried: Properties = ()
    """Sent with a backfilled event and compared only if the metric bills one of them."""
    skip_zero: bool = False
    """The sender makes no event where the billed quantity is zero."""
    optional: bool = False
    """Left out where Lago has no billable metric of this code; other parts are then held."""
    cost: str | None = None
    """Source of what the part cost in USD: `spend` or `metadata.<path>`; None where nothing tells it."""
    amount: Amount | None = None
    """How the amount that the event carries is made of the cost; None where it carries none."""

    def quantity_properties(self, billed: str | None) -> Properties:
        """Return the compared quantities, with the billed one among them even if it is only carried."""
        promoted = tuple(item for item in self.carried if item[0] == billed)
        return self.quantities + promoted


@dataclass(frozen=True, slots=True)
class BoundPart:
    """A meter part and the property that its billable metric bills."""

    part: MeterPart
    billed: str | None
    """The property whose number is the quantity; None where the metric counts events."""
    sums: bool
    """The metric adds the quantities up, so that a difference can be topped up."""
    known: bool = True
    """Lago has a billable metric of this code."""


def preset(name: str, code: str) -> tuple[MeterPart, ...]:
    """Return a preset's parts; `code` is what `LAGO_API_EVENT_CODE` says (`agent-sdk` has codes of its own).

    None of them carries an amount until `with_amounts` says how it is made.
    """
    presets = {
        "callback": (
            MeterPart(
                code,
                "total",
                dimensions=(("model", "model"),),
                quantities=(
                    ("prompt_tokens", "prompt_tokens"),
                    ("completion_tokens", "completion_tokens"),
                    ("total_tokens", "total_tokens"),
                ),
                carried=(("response_cost", "spend"),),
                cost="spend",
            ),
        ),
        "input-output": tuple(
            MeterPart(
                code,
                part,
                dimensions=(("model", "model"), ("type", f"={part}")),
                quantities=(("tokens", source),),
                cost=cost,
            )
            for part, source, cost in (
                ("input", "prompt_tokens", _INPUT_COST),
                ("output", "completion_tokens", _OUTPUT_COST),
            )
        ),
        "agent-sdk": tuple(
            MeterPart(
                sdk_code,
                part,
                dimensions=(("model", "model"),),
                quantities=(("value", source),),
                carried=(("provider", "provider"),),
                skip_zero=True,
                optional=True,
            )
            for sdk_code, part, source in (
                ("llm_input_tokens", "input", "prompt_tokens"),
                ("llm_output_tokens", "output", "completion_tokens"),
                (
                    "llm_cached_input_tokens",
                    "cached-input",
                    "metadata.additional_usage_values.cache_read_input_tokens",
                ),
                (
                    "llm_cache_creation_tokens",
                    "cache-creation",
                    "metadata.additional_usage_values.cache_creation_input_tokens",
                ),
                (
                    "llm_reasoning_tokens",
                    "reasoning",
                    "metadata.additional_usage_values.completion_tokens_details.reasoning_tokens",
                ),
            )
        ),
        "agent-sdk-price": tuple(
            MeterPart(
                code,
                part,
                dimensions=(("model", "model"), ("token_type", f"={part}")),
                quantities=(("unit", source),),
                carried=(("value", AMOUNT), ("provider", "provider")),
                skip_zero=True,
                cost=cost,
            )
            for part, source, cost in (
                ("input", "prompt_tokens", _INPUT_COST),
                ("output", "completion_tokens", _OUTPUT_COST),
            )
        ),
    }
    if name not in presets:
        raise SettingError(
            f"there is no meter named {name!r}",
            f"Choose one of {', '.join(PRESETS)}, or describe one under [[meter_parts]]",
        )
    return presets[name]


def with_amounts(parts: tuple[MeterPart, ...], amount: Amount | None) -> tuple[MeterPart, ...]:
    """Return the parts, those that know a cost with this way to make an amount of it.

    Raise `SettingError` where an amount is asked for and no part knows a cost.
    """
    if amount is not None and all(part.cost is None for part in parts):
        raise SettingError(
            "RECONCILE_MARKUP is set, but no part of the meter says what a call cost",
            'Take it away, or give the parts under [[meter_parts]] a cost, as in cost = "spend"',
        )
    return tuple(part if part.cost is None else replace(part, amount=amount) for part in parts)


def custom(tables: Sequence[Mapping[str, object]], code: str) -> tuple[MeterPart, ...]:
    """Return the parts that `[[meter_parts]]` tables describe; raise `SettingError` naming the table."""
    return check_parts(tuple(_custom_part(number, table, code) for number, table in enumerate(tables, start=1)))


def _custom_part(number: int, table: Mapping[str, object], code: str) -> MeterPart:
    where = f"[[meter_parts]] number {number}"
    unknown = set(table).difference(_KEYS)
    if unknown:
        raise SettingError(f"{where} has the unknown key {sorted(unknown)[0]!r}", f"Use {', '.join(_KEYS)}")
    chosen_code, part, skip_zero = table.get("code", code), table.get("part"), table.get("skip_zero", False)
    if not isinstance(chosen_code, str) or not chosen_code:
        raise SettingError(f"{where} has no code", "Give it one, or set LAGO_API_EVENT_CODE")
    if not isinstance(part, str) or not part:
        raise SettingError(f"{where} has no part", 'Name it, as in part = "input"')
    if not isinstance(skip_zero, bool):
        raise SettingError(f"{where}: skip_zero is neither true nor false", "Write one of them, without quotes")
    dimensions, quantities, carried = (
        _properties(where, name, table.get(name, {})) for name in ("dimensions", "quantities", "carried")
    )
    cost = table.get("cost")
    if cost is not None and not (isinstance(cost, str) and (cost == "spend" or cost.startswith(METADATA))):
        raise SettingError(f"{where}: cost is neither spend nor metadata.<path>", 'Write it as in cost = "spend"')
    if cost is None and AMOUNT in (source for _, source in carried):
        raise SettingError(f"{where} carries an amount and does not say what it costs", 'Add cost = "spend"')
    return MeterPart(chosen_code, part, dimensions, quantities, carried, skip_zero, cost=cost)


def _properties(where: str, name: str, table: object) -> Properties:
    if not isinstance(table, Mapping) or not all(isinstance(source, str) for source in table.values()):
        raise SettingError(f"{where}: {name} is no table of texts", 'Map names to sources, as in { model = "model" }')
    numeric = name == "quantities"
    for source in table.values():
        known = (
            (source in NUMBER_SOURCES and name != "dimensions")
            or (not numeric and (source in TEXT_SOURCES or source.startswith(LITERAL)))
            or (name == "carried" and source == AMOUNT)
        )
        if not known and not source.startswith(METADATA):
            numbers, texts = NUMBER_SOURCES, (*TEXT_SOURCES, "=text")
            choices = numbers if numeric else texts if name == "dimensions" else (*texts, *numbers, AMOUNT)
            raise SettingError(
                f"{where}: {name} has the unknown source {source!r}",
                f"Use one of {', '.join(choices)} or metadata.<path>",
            )
    return tuple(table.items())


def check_parts(parts: tuple[MeterPart, ...]) -> tuple[MeterPart, ...]:
    """Return the parts, or raise `SettingError` where two of them could not be told apart or compared."""
    if not parts:
        raise SettingError("the meter has no parts", "Describe them under [[meter_parts]] in the configuration file")
    shapes: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    seen: set[tuple[str, str]] = set()
    for part in parts:
        if (part.code, part.part) in seen:
            raise SettingError(f"two meter parts of code {part.code!r} are both named {part.part!r}", "Rename one")
        if part.part.endswith(TOP_UP):
            raise SettingError(f"the meter part {part.part!r} ends in {TOP_UP}, which names top-ups", "Rename it")
        seen.add((part.code, part.part))
        if [source for _, source in part.dimensions].count("model") > 1:
            raise SettingError(f"the meter part {part.part!r} takes the model for two dimensions", "Keep one of them")
        shape = (_names(part.dimensions), _names(part.quantities))
        if shapes.setdefault(part.code, shape) != shape:
            raise SettingError(
                f"the meter parts of code {part.code!r} have different properties",
                "Events of one code are compared by the same dimensions and quantities: give every part all of them",
            )
    return parts


def _names(properties: Properties) -> tuple[str, ...]:
    return tuple(name for name, _ in properties)


def bind(parts: Sequence[MeterPart], metrics: Mapping[str, BillableMetric]) -> tuple[BoundPart, ...]:
    """Return the parts with the property that each one's metric bills, less the optional ones Lago has no metric for.

    Raises `SettingError` if Lago knows none of the codes, or if a metric bills a property that the meter does not have.
    """
    if not any(part.code in metrics for part in parts):
        codes = ", ".join(sorted({repr(part.code) for part in parts}))
        known = ", ".join(sorted(map(repr, metrics))[:10]) or "none"
        raise SettingError(
            f"Lago has no billable metric with the code {codes}",
            f"Set LAGO_API_EVENT_CODE to one it has ({known}), or create the metric in Lago",
        )
    return tuple(
        _bind_part(part, metrics[part.code])
        if part.code in metrics
        else BoundPart(part, part.quantities[0][0] if part.quantities else None, sums=False, known=False)
        for part in parts
        if part.code in metrics or not part.optional
    )


def _bind_part(part: MeterPart, metric: BillableMetric) -> BoundPart:
    if metric.aggregation_type == "count_agg":
        return BoundPart(part, None, sums=False)
    field = metric.field_name
    numeric = [*part.quantities, *((name, source) for name, source in part.carried if _is_number(source))]
    if field is None or field not in _names(tuple(numeric)):
        raise SettingError(
            f"the billable metric {part.code!r} bills the property {field!r}, which the meter does not send "
            f"(it sends {', '.join(_names(tuple(numeric)))})",
            "Choose the meter that fits your events (RECONCILE_METER), or describe it under [[meter_parts]]"
            + (" with the quantity that the metric's expression computes" if metric.expression else ""),
        )
    return BoundPart(part, field, sums=metric.aggregation_type == "sum_agg")


def _is_number(source: str) -> bool:
    return source in NUMBER_SOURCES or source.startswith(METADATA)
