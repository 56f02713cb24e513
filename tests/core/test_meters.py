"""Meters: presets, custom ones, and how they are bound to what Lago's metrics bill."""

from dataclasses import replace
from decimal import Decimal

import pytest

from jobs.core.lago.values import BillableMetric
from jobs.core.layout import lay_out
from jobs.core.meters import Amount, BoundPart, MeterPart, bind, check_parts, custom, preset, with_amounts
from jobs.errors import SettingError


def metric(code: str = "llm_tokens", field_name: str | None = "total_tokens", kind: str = "sum_agg") -> BillableMetric:
    return BillableMetric(code, kind, field_name, expression=None, filters=())


def test_what_is_billed_comes_from_the_metric() -> None:
    (part,) = bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name="prompt_tokens")})
    assert (part.billed, part.sums, part.known) == ("prompt_tokens", True, True)
    (part,) = bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name=None, kind="count_agg")})
    assert part == BoundPart(preset("callback", "llm_tokens")[0], None, sums=False, known=True)


def test_a_billed_cost_is_compared_though_it_is_only_carried_otherwise() -> None:
    bound = bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name="response_cost")})
    layout = lay_out(bound, None, None)
    assert layout.bills_spend
    assert layout.property_names == (
        "model",
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "response_cost",
    )
    assert "response_cost" not in lay_out(bind(preset("callback", "c"), {"c": metric("c")}), None, None).property_names


@pytest.mark.parametrize(
    ("expression", "more"), [(None, ""), ("a * b", " with the quantity that the metric's expression computes")]
)
@pytest.mark.parametrize("field", ["tokens", "model", None])
def test_a_metric_that_bills_what_the_meter_does_not_send_is_refused(
    field: str | None, expression: str | None, more: str
) -> None:
    other = replace(metric(field_name=field), expression=expression)
    with pytest.raises(SettingError) as raised:
        bind(preset("callback", "llm_tokens"), {"llm_tokens": other})
    assert str(raised.value) == (
        f"the billable metric 'llm_tokens' bills the property {field!r}, which the meter does not send "
        "(it sends prompt_tokens, completion_tokens, total_tokens, response_cost). "
        f"Choose the meter that fits your events (RECONCILE_METER), or describe it under [[meter_parts]]{more}"
    )


def test_a_carried_text_cannot_be_billed_but_a_carried_number_can() -> None:
    part = MeterPart("c", "p", (), (), carried=(("provider", "provider"), ("images", "metadata.images")))
    (bound,) = bind((part,), {"c": metric("c", "images")})
    assert bound == BoundPart(part, "images", sums=True, known=True)
    assert part.quantity_properties("images") == (("images", "metadata.images"),)
    with pytest.raises(SettingError, match=r"\(it sends images\)"):
        bind((part,), {"c": metric("c", "provider")})


def test_only_a_sum_can_be_topped_up() -> None:
    parts = preset("callback", "c")
    assert [bind(parts, {"c": metric("c", kind=kind)})[0].sums for kind in ("sum_agg", "max_agg")] == [True, False]


def test_an_unknown_code_is_refused_with_the_known_ones() -> None:
    known = {f"m{number:02}": metric() for number in range(11, -1, -1)}
    with pytest.raises(SettingError) as raised:
        bind((*preset("callback", "b"), *preset("callback", "a")), known)
    assert str(raised.value) == (
        "Lago has no billable metric with the code 'a', 'b'. Set LAGO_API_EVENT_CODE to one it has "
        "('m00', 'm01', 'm02', 'm03', 'm04', 'm05', 'm06', 'm07', 'm08', 'm09'), or create the metric in Lago"
    )
    with pytest.raises(SettingError, match=r"one it has \(none\)"):
        bind(preset("callback", "a"), {})


def test_presets_are_what_the_senders_send() -> None:
    (callback,) = preset("callback", "llm_tokens")
    assert callback == MeterPart(
        "llm_tokens",
        "total",
        dimensions=(("model", "model"),),
        quantities=tuple((name, name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")),
        carried=(("response_cost", "spend"),),
        cost="spend",
    )
    assert preset("input-output", "c") == tuple(
        MeterPart(
            "c",
            part,
            (("model", "model"), ("type", f"={part}")),
            (("tokens", source),),
            cost=f"metadata.cost_breakdown.{part}_cost",
        )
        for part, source in (("input", "prompt_tokens"), ("output", "completion_tokens"))
    )
    assert preset("agent-sdk-price", "llm_cost") == tuple(
        MeterPart(
            "llm_cost",
            part,
            (("model", "model"), ("token_type", f"={part}")),
            (("unit", source),),
            carried=(("value", "amount"), ("provider", "provider")),
            skip_zero=True,
            cost=f"metadata.cost_breakdown.{part}_cost",
        )
        for part, source in (("input", "prompt_tokens"), ("output", "completion_tokens"))
    )
    usage = "metadata.additional_usage_values."
    assert preset("agent-sdk", "") == tuple(
        MeterPart(
            f"llm_{code}_tokens",
            part,
            dimensions=(("model", "model"),),
            quantities=(("value", source),),
            carried=(("provider", "provider"),),
            skip_zero=True,
            optional=True,
        )
        for code, part, source in (
            ("input", "input", "prompt_tokens"),
            ("output", "output", "completion_tokens"),
            ("cached_input", "cached-input", f"{usage}cache_read_input_tokens"),
            ("cache_creation", "cache-creation", f"{usage}cache_creation_input_tokens"),
            ("reasoning", "reasoning", f"{usage}completion_tokens_details.reasoning_tokens"),
        )
    )


def test_the_agent_sdk_preset_leaves_out_codes_that_lago_does_not_bill() -> None:
    bound = bind(preset("agent-sdk", ""), {"llm_input_tokens": metric("llm_input_tokens", "value")})
    assert [part.part.code for part in bound] == ["llm_input_tokens"]


def test_a_custom_part_that_lago_does_not_know_is_kept_to_be_held() -> None:
    parts = custom(
        [
            {"code": "a", "part": "x", "quantities": {"n": "total_tokens"}},
            {"code": "b", "part": "y", "quantities": {"n": "metadata.usage.images"}},
        ],
        "",
    )
    bound = bind(parts, {"a": metric("a", "n")})
    assert bound[0] == BoundPart(parts[0], "n", sums=True, known=True)
    assert bound[1] == BoundPart(parts[1], "n", sums=False, known=False)
    (bare,) = custom([{"code": "c", "part": "z"}], "")
    assert bind((parts[0], bare), {"a": metric("a", "n")})[1] == BoundPart(bare, None, sums=False, known=False)
    assert lay_out(bound, "tenant.id", None).metadata_paths == ("usage.images", "tenant.id")


def test_a_custom_part_has_what_its_table_says() -> None:
    table = {
        "code": "c",
        "part": "p",
        "dimensions": {"type": "=x", "model": "model", "place": "metadata.region"},
        "quantities": {"n": "total_tokens"},
        "carried": {"cost": "spend", "key": "api_key"},
        "skip_zero": True,
    }
    assert custom([table, {"part": "q"}], "usual") == (
        MeterPart(
            "c",
            "p",
            (("type", "=x"), ("model", "model"), ("place", "metadata.region")),
            (("n", "total_tokens"),),
            (("cost", "spend"), ("key", "api_key")),
            skip_zero=True,
        ),
        MeterPart("usual", "q", (), ()),
    )


TEXTS = "model, model_group, provider, call_type, user_id, team_id, organization_id, end_user, api_key, =text"
NUMBERS = "prompt_tokens, completion_tokens, total_tokens, spend"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"part": "x", "quantity": {}, "zeros": 1},
            " has the unknown key 'quantity'. Use code, part, dimensions, quantities, carried, skip_zero",
        ),
        ({"code": "", "part": "x"}, " has no code. Give it one, or set LAGO_API_EVENT_CODE"),
        ({"code": 5, "part": "x"}, " has no code. Give it one, or set LAGO_API_EVENT_CODE"),
        ({}, ' has no part. Name it, as in part = "input"'),
        ({"part": ""}, ' has no part. Name it, as in part = "input"'),
        ({"part": 5}, ' has no part. Name it, as in part = "input"'),
        (
            {"part": "x", "skip_zero": "no"},
            ": skip_zero is neither true nor false. Write one of them, without quotes",
        ),
        *(
            (
                {"part": "x", "dimensions": table},
                ': dimensions is no table of texts. Map names to sources, as in { model = "model" }',
            )
            for table in ({"m": 3}, ["model"], "model")
        ),
        (
            {"part": "x", "quantities": {"n": "tokens"}},
            f": quantities has the unknown source 'tokens'. Use one of {NUMBERS} or metadata.<path>",
        ),
        (
            {"part": "x", "quantities": {"n": "model"}},
            f": quantities has the unknown source 'model'. Use one of {NUMBERS} or metadata.<path>",
        ),
        (
            {"part": "x", "quantities": {"n": "=5"}},
            f": quantities has the unknown source '=5'. Use one of {NUMBERS} or metadata.<path>",
        ),
        (
            {"part": "x", "dimensions": {"n": "spend"}},
            f": dimensions has the unknown source 'spend'. Use one of {TEXTS} or metadata.<path>",
        ),
        (
            {"part": "x", "carried": {"n": "cost"}},
            f": carried has the unknown source 'cost'. Use one of {TEXTS}, {NUMBERS}, amount or metadata.<path>",
        ),
        ({"part": "x", "cost": "total_tokens"}, ": cost is neither spend nor metadata.<path>"),
        ({"part": "x", "cost": 1}, ": cost is neither spend nor metadata.<path>"),
        ({"part": "x", "carried": {"v": "amount"}}, " carries an amount and does not say what it costs"),
        ({"part": "x", "dimensions": {"v": "amount"}}, ": dimensions has the unknown source 'amount'"),
    ],
)
def test_a_wrong_custom_meter_is_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError) as raised:
        custom([{"part": "right"}, table], "code")
    assert str(raised.value).startswith("[[meter_parts]] number 2" + message)


def test_parts_must_be_comparable_and_told_apart() -> None:
    one = preset("input-output", "c")
    other_code = preset("input-output", "d")
    assert check_parts((*one, *other_code)) == (*one, *other_code)
    different = custom([{"part": "z", "dimensions": {"model": "model"}, "quantities": {"tokens": "total_tokens"}}], "c")
    cases: list[tuple[tuple[MeterPart, ...], str]] = [
        ((), "the meter has no parts. Describe them under [[meter_parts]] in the configuration file"),
        ((one[0], one[1], one[0]), "two meter parts of code 'c' are both named 'input'. Rename one"),
        (
            (replace(one[0], part="input/top-up"),),
            "the meter part 'input/top-up' ends in /top-up, which names top-ups. Rename it",
        ),
        (
            (replace(one[0], dimensions=(("a", "model"), ("b", "model"))),),
            "the meter part 'input' takes the model for two dimensions. Keep one of them",
        ),
        (
            (*one, *different),
            "the meter parts of code 'c' have different properties. Events of one code are compared by the same "
            "dimensions and quantities: give every part all of them",
        ),
    ]
    for parts, message in cases:
        with pytest.raises(SettingError) as raised:
            check_parts(parts)
        assert str(raised.value) == message


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(SettingError) as raised:
        preset("callbak", "c")
    assert str(raised.value) == (
        "there is no meter named 'callbak'. "
        "Choose one of callback, input-output, agent-sdk, agent-sdk-price, or describe one under [[meter_parts]]"
    )


def test_a_layout_names_the_places_of_a_meters_values() -> None:
    parts = (
        MeterPart(
            "a",
            "one",
            dimensions=(("kind", "=x"), ("model", "model"), ("where", "metadata.region"), ("who", "user_id")),
            quantities=(("n", "completion_tokens"), ("images", "metadata.images")),
            carried=(("cost", "spend"), ("tenant", "metadata.tenant")),
        ),
        MeterPart(
            "a",
            "two",
            dimensions=(("kind", "=y"), ("model", "=z"), ("where", "metadata.region"), ("who", "user_id")),
            quantities=(("n", "prompt_tokens"), ("images", "metadata.images")),
            skip_zero=True,
        ),
        MeterPart(
            "b",
            "three",
            dimensions=(),
            quantities=(("n", "total_tokens"),),
            cost="metadata.price",
            amount=Amount(Decimal(3), "EUR"),
        ),
    )
    bound = (
        BoundPart(parts[0], "images", sums=True),
        BoundPart(parts[1], "images", sums=True),
        BoundPart(parts[2], None, sums=False, known=False),
    )
    layout = lay_out(bound, "payer", "gw-{request_id}")
    assert layout.metadata_paths == ("region", "images", "tenant", "price", "payer")
    assert layout.property_names == ("kind", "model", "where", "who", "n", "images")
    assert layout.charge_by_place == 5
    assert (layout.bills_spend, layout.counts_spend, layout.compares_texts) == (False, False, True)
    # Nine columns of texts or four of numbers come first, then the five values from the metadata, then the literals.
    assert layout.part_rows == (
        ("a", "one", 1, [15, 10, 5], ["x"], [2, 6], 6, False, "gw-{request_id}", None, None, None),
        ("a", "two", None, [15, 16, 10, 5], ["y", "z"], [1, 6], 6, True, "gw-{request_id}", None, None, None),
        ("b", "three", None, [], [], [3], None, False, "gw-{request_id}", 4, Decimal("0.00000000000033333334"), "EUR"),
    )
    assert layout.code_rows == (
        ("b", None, [], [5], [False], None, False, False),
        ("a", 2, [1, 3, 4], [5, 6], [False, False], 6, True, True),
    )


def test_a_layout_without_metadata_reads_none_and_knows_a_billed_cost() -> None:
    (part,) = preset("callback", "c")
    layout = lay_out((BoundPart(part, "response_cost", sums=True),), None, None)
    assert (layout.metadata_paths, layout.charge_by_place) == ((), None)
    assert (layout.bills_spend, layout.counts_spend, layout.compares_texts) == (True, True, False)
    assert layout.part_rows == (("c", "total", 1, [], [], [1, 2, 3, 4], 4, False, None, None, None, None),)
    assert layout.code_rows == (("c", 1, [], [2, 3, 4, 5], [False, False, False, True], 5, True, True),)
    assert not lay_out((BoundPart(part, None, sums=False),), None, None).bills_spend
    placed = MeterPart("c", "total", dimensions=(("where", "metadata.region"),), quantities=(("n", "total_tokens"),))
    assert not lay_out((BoundPart(placed, "n", sums=True),), None, None).compares_texts
    assert not lay_out((BoundPart(part, "total_tokens", sums=True),), None, None).bills_spend


@pytest.mark.parametrize(
    ("cost", "markup", "currency", "main", "smallest"),
    [
        ("0.0456", "1.2", "USD", "0.054720000000", "5.4720000000"),
        ("0.00018", "1", "USD", "0.000180000000", "0.0180000000"),
        # Rounded down to 12 decimals of the main unit, never up.
        ("0.0000000000009", "1", "USD", "0.000000000000", "0.0000000000"),
        ("0.0000000000019", "1", "EUR", "0.000000000001", "0.0000000001"),
        ("999999999999.99999999999999999999", "0.5", "USD", "499999999999.999999999999", "49999999999999.9999999999"),
        ("0.0123", "150.5", "JPY", "1.851150000000", "1.851150000000"),
        ("0.0123", "0.31", "KWD", "0.003813000000", "3.813000000"),
    ],
)
def test_an_amount_is_the_cost_times_the_markup_rounded_down(
    cost: str, markup: str, currency: str, main: str, smallest: str
) -> None:
    amount = Amount(Decimal(markup), currency)
    assert f"{amount.main_unit(Decimal(cost)):f}" == main
    assert f"{amount.smallest_unit(Decimal(cost)):f}" == smallest
    assert amount.main_unit(amount.least_cost) > 0
    assert amount.main_unit(amount.least_cost - Decimal("1e-20")) == 0


def test_amounts_go_to_the_parts_that_know_a_cost() -> None:
    amount = Amount(Decimal("1.2"), "USD")
    known, unknown = MeterPart("c", "a", (), (), cost="spend"), MeterPart("c", "b", (), ())
    assert with_amounts((known, unknown), amount) == (replace(known, amount=amount), unknown)
    assert with_amounts((known, unknown), None) == (known, unknown)
    with pytest.raises(SettingError, match="no part of the meter says what a call cost"):
        with_amounts(preset("agent-sdk", ""), amount)
