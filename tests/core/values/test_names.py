"""Transaction ids and model names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.core.model_names import ModelNames, event_model
from jobs.core.transaction_ids import transaction_id

texts = st.text(max_size=6)


def test_transaction_id_is_stable() -> None:
    assert transaction_id("sub_1", "llm_tokens", "total", "chatcmpl-1") == (
        "litellm-lago:1:a589886afa36ddfa3f96d8eb9ef80c94aa0058240dbd1d69cc16b4db351df5e5"
    )


@given(st.tuples(texts, texts, texts, texts), st.tuples(texts, texts, texts, texts))
def test_transaction_ids_are_injective(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (transaction_id(*one) == transaction_id(*other)) == (one == other)


@given(texts, texts, texts, texts)
def test_transaction_ids_are_short_and_plain(subscription: str, code: str, part: str, request_id: str) -> None:
    identity = transaction_id(subscription, code, part, request_id * 100)
    assert len(identity) < 255
    assert set(identity) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:-")


@pytest.mark.parametrize(
    ("model", "provider", "sent"),
    [
        ("openai/starcoder", "openai", "starcoder"),
        ("openai/kserve/gte-large/v1", "openai", "kserve/gte-large/v1"),
        ("text-completion-openai/gpt-3.5-turbo-instruct", "text-completion-openai", "gpt-3.5-turbo-instruct"),
        ("starcoder", None, "starcoder"),
        ("openai/starcoder", None, "openai/starcoder"),
        ("openai", "openai", "openai"),
        ("None/starcoder", None, "None/starcoder"),
        ("/starcoder", "", "/starcoder"),
    ],
)
def test_event_model_is_the_callbacks_spelling(model: str, provider: str | None, sent: str) -> None:
    assert event_model(model, provider) == sent


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("Starcoder", "starcoder"),
        ("openai/starcoder", "starcoder"),
        ("kserve/gte-large/v1", "kserve/gte-large/v1"),
        ("openai/", "openai/"),
        ("GPT4", "gpt-4"),
        ("azure/gpt4", "gpt-4"),
        ("openai/Azure/Llama", "azure/llama"),
    ],
)
def test_model_keys(model: str, key: str) -> None:
    assert ModelNames({"gpt4": "OpenAI/GPT-4"}).key(model) == key
