"""Meters: presets, custom ones, and how they are bound to what Lago's metrics bill."""

import pytest

from jobs.core.lago_values import BillableMetric
from jobs.core.layout import lay_out
from jobs.core.meters import bind, check_parts, custom, preset
from jobs.errors import SettingError


def metric(code: str = "llm_tokens", field_name: str | None = "total_tokens", kind: str = "sum_agg") -> BillableMetric:
    return BillableMetric(code, kind, field_name, recurring=False, expression=None, filters=())


def test_what_is_billed_comes_from_the_metric() -> None:
    (part,) = bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name="prompt_tokens")})
    assert (part.billed, part.sums, part.known) == ("prompt_tokens", True, True)
    (part,) = bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name=None, kind="count_agg")})
    assert (part.billed, part.sums) == (None, False)


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


def test_a_metric_that_bills_what_the_meter_does_not_send_is_refused() -> None:
    with pytest.raises(SettingError, match="bills the property 'tokens', which the meter does not send"):
        bind(preset("callback", "llm_tokens"), {"llm_tokens": metric(field_name="tokens")})


def test_an_unknown_code_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingError, match=r"no billable metric with the code 'llm_tokens'.*'other'"):
        bind(preset("callback", "llm_tokens"), {"other": metric("other")})


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
    assert [part.known for part in bound] == [True, False]
    assert lay_out(bound, "tenant.id", None).metadata_paths == ("usage.images", "tenant.id")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"part": "x", "quantity": {}}, "unknown key 'quantity'"),
        ({"quantities": {}}, "no part"),
        ({"part": "x", "quantities": {"n": "tokens"}}, "unknown source 'tokens'"),
        ({"part": "x", "quantities": {"n": "model"}}, "unknown source 'model'"),
        ({"part": "x", "dimensions": {"m": 3}}, "Map names to sources"),
        ({"part": "x", "skip_zero": "no"}, "skip_zero is neither true nor false"),
        ({"part": "x", "dimensions": {"a": "model", "b": "model"}}, "takes the model for two dimensions"),
        ({"part": "x", "code": 5}, "no code"),
    ],
)
def test_a_wrong_custom_meter_is_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(SettingError, match=message):
        custom([table], "code")


def test_parts_of_one_code_must_be_comparable_and_told_apart() -> None:
    one = preset("input-output", "c")
    with pytest.raises(SettingError, match="both named 'input'"):
        check_parts((one[0], one[0]))
    other = custom([{"part": "z", "dimensions": {"model": "model"}, "quantities": {"tokens": "total_tokens"}}], "c")
    with pytest.raises(SettingError, match="different properties"):
        check_parts((*one, *other))


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(SettingError, match="callback, input-output, agent-sdk"):
        preset("callbak", "c")
